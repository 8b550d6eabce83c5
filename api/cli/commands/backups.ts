/** tdb tenants backup|backups|rollback|clone … and tdb workspaces backup-schedule. */
import { type Command, Option } from "commander";
import { segment } from "../../client.ts";
import { saveDownload } from "../download.ts";
import { CommandFailure, UsageError } from "../errors.ts";
import { formatFields, formatTable, sanitize } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { addPaging, type PagingOptions, pageQuery, wholeNumber } from "./options.ts";

const pollMs = 500;

type Format = "auto" | "own" | "custom";

interface BackupAnswer {
  readonly id: string;
  readonly tenant_id: string;
  readonly status: string;
  readonly version: number | null;
  readonly tables: number | null;
  readonly rows: number | null;
  readonly size_bytes: number | null;
  readonly format: string | null;
  readonly error: string | null;
  readonly snapshot_at: string | null;
}

const backupView: View<BackupAnswer> = {
  quiet: (answer) => answer.id,
  human: (answer) =>
    formatFields([
      ["backup", answer.id],
      ["tenant", answer.tenant_id],
      ["status", answer.status],
      ...(answer.error === null ? [] : [["error", answer.error] as const]),
      ...(answer.snapshot_at === null
        ? []
        : ([
            ["as of", answer.snapshot_at],
            ["holds", `${answer.tables} tables, ${answer.rows} rows, at version ${answer.version}`],
            ["format", answer.format],
            ["bytes", answer.size_bytes],
          ] as const)),
    ]),
};

interface RollbackAnswer {
  readonly id: string;
  readonly tenant_id: string;
  readonly status: string;
  readonly version: number | null;
  readonly warnings: readonly string[];
  readonly error: string | null;
  readonly undo_until: string | null;
}

const rollbackView: View<RollbackAnswer> = {
  quiet: (answer) => answer.id,
  human: (answer) =>
    formatFields([
      ["rollback", answer.id],
      ["tenant", answer.tenant_id],
      ["status", answer.status],
      ...(answer.error === null ? [] : [["error", answer.error] as const]),
      ...(answer.version === null ? [] : [["version", answer.version] as const]),
      ...answer.warnings.map((warning) => ["warning", warning] as const),
      ...(answer.undo_until === null
        ? []
        : [["undo until", `${answer.undo_until}: tdb tenants rollback-undo ${answer.tenant_id} ${answer.id}`] as const]),
    ]),
};

export function addTenantBackupCommands(tenants: Command, session: CliSession): void {
  addBackups(tenants, session);
  addFiles(tenants, session);
  addRollbacks(tenants, session);
  addNewTenants(tenants, session);
}

function addBackups(tenants: Command, session: CliSession): void {
  tenants
    .command("backup")
    .description("Back up a tenant's database as it is now, and wait until it is done")
    .argument("<tenant>")
    .addOption(
      new Option("--format <format>", "own: a script for psql; custom: an archive for pg_restore; auto: custom where it can be made").choices([
        "auto",
        "own",
        "custom",
      ] satisfies Format[]),
    )
    .option("--no-wait", "return at once")
    .addHelpText("after", "\nThe format is what backup.format says unless told.\n\nExample:\n  $ tdb tenants backup wayne")
    .action(async (id: string, options: { wait: boolean; format?: Format }) => {
      const param = { id: segment(id) };
      const json = options.format === undefined ? {} : { format: options.format };
      let backup = await session.ask<BackupAnswer>((client) => client.tenants[":id"].backup.$post({ param, json }));
      while (options.wait && (backup.status === "queued" || backup.status === "running")) {
        await session.host.sleep(pollMs);
        const own = { ...param, backup_id: backup.id };
        backup = await session.ask((client) => client.tenants[":id"].backups[":backup_id"].$get({ param: own }));
      }
      await session.print(backup, backupView);
      if (backup.status === "failed") throw new CommandFailure(`backup ${backup.id} failed: ${backup.error}; earlier backups are as they were`);
    });
  addPaging(tenants.command("backups"))
    .description("A tenant's backups, the newest first")
    .argument("<tenant>")
    .action((id: string, options: PagingOptions) =>
      session.show((client) => client.tenants[":id"].backups.$get({ param: { id: segment(id) }, query: pageQuery(options) }), {
        quiet: (answer) => answer.backups.map((row) => row.id).join("\n"),
        human: (answer) =>
          formatTable(
            ["BACKUP", "AS OF", "MADE BY", "STATUS", "VERSION", "ROWS", "FORMAT", "BYTES", "ERROR"],
            answer.backups.map((row) => [
              row.id,
              row.snapshot_at,
              row.trigger,
              row.status,
              row.version,
              row.rows,
              row.format,
              row.size_bytes,
              row.error,
            ]),
          ),
      }),
    );
}

function addFiles(tenants: Command, session: CliSession): void {
  tenants
    .command("backup-download")
    .description("Save a backup's file: a script for psql compressed with gzip, or an archive for pg_restore")
    .argument("<tenant>")
    .argument("<backup>")
    .option("--file <path>", "where to; a name in this folder unless told")
    .addHelpText(
      "after",
      "\nRestore it anywhere:\n  $ gunzip -c wayne-bak_5f0c2a7d9e1b3c48.sql.gz | psql -X DATABASE\n  $ pg_restore --no-owner -d DATABASE wayne-bak_5f0c2a7d9e1b3c48.dump",
    )
    .action(async (tenant: string, backup: string, options: { file?: string }) => {
      const client = await session.client();
      const param = { id: segment(tenant), backup_id: segment(backup) };
      const pending: Promise<Response> = client.tenants[":id"].backups[":backup_id"].download.$get({ param });
      const saved = await saveDownload(pending, options.file);
      await session.print(saved, {
        quiet: (file) => file.path,
        human: (file) => `✓ ${sanitize(file.path)}, ${file.size_bytes} bytes, checksum right`,
      });
    });
  tenants
    .command("backup-delete")
    .description("Delete a backup and its file")
    .argument("<tenant>")
    .argument("<backup>")
    .action((tenant: string, backup: string) => {
      const param = { id: segment(tenant), backup_id: segment(backup) };
      return session.show((client) => client.tenants[":id"].backups[":backup_id"].$delete({ param }), {
        quiet: (answer) => answer.id,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      });
    });
}

interface RollbackOptions {
  readonly backup?: string;
  readonly date?: string;
  readonly upgrade?: boolean;
  readonly wait: boolean;
}

function addRollbacks(tenants: Command, session: CliSession): void {
  tenants
    .command("rollback")
    .description("Put a tenant's database back to a backup, and wait until it is done; it can be undone for a day")
    .argument("<tenant>")
    .option("--backup <id>", "to this backup")
    .option("--date <time>", "to the newest backup from then or before, as 2027-01-31T00:00:00Z")
    .option("--upgrade", "bring it to the blueprint's newest version before clients see it")
    .option("--no-wait", "return at once")
    .addHelpText(
      "after",
      "\nExamples:\n  $ tdb tenants rollback wayne --backup bak_5f0c2a7d9e1b3c48\n  $ tdb tenants rollback wayne --date 2027-01-31T00:00:00Z",
    )
    .action(async (id: string, { backup, date, upgrade, wait }: RollbackOptions) => {
      if ((backup === undefined) === (date === undefined)) throw new UsageError("say where to: either --backup <id> or --date <time>");
      const json = { ...(backup !== undefined && { backup_id: backup }), ...(date !== undefined && { date }), ...(upgrade && { upgrade }) };
      const started = await session.ask<RollbackAnswer>((client) => client.tenants[":id"].rollback.$post({ param: { id: segment(id) }, json }));
      await followRollback(session, id, started, wait);
    });
  tenants
    .command("rollback-undo")
    .description("Put back the database that a rollback replaced")
    .argument("<tenant>")
    .argument("<rollback>")
    .option("--no-wait", "return at once")
    .action(async (id: string, rollback: string, { wait }: { wait: boolean }) => {
      const param = { id: segment(id), rollback_id: segment(rollback) };
      const started = await session.ask<RollbackAnswer>((client) => client.tenants[":id"].rollbacks[":rollback_id"].undo.$post({ param, json: {} }));
      await followRollback(session, id, started, wait);
    });
  addPaging(tenants.command("rollbacks"))
    .description("A tenant's rollbacks, the newest first")
    .argument("<tenant>")
    .action((id: string, options: PagingOptions) =>
      session.show((client) => client.tenants[":id"].rollbacks.$get({ param: { id: segment(id) }, query: pageQuery(options) }), {
        quiet: (answer) => answer.rollbacks.map((row) => row.id).join("\n"),
        human: (answer) =>
          formatTable(
            ["ROLLBACK", "TO", "STATUS", "VERSION", "STARTED", "FINISHED", "UNDO UNTIL", "ERROR"],
            answer.rollbacks.map((row) => [
              row.id,
              row.backup_id ?? `before ${row.undoes}`,
              row.status,
              row.version,
              row.started_at,
              row.finished_at,
              row.undo_until,
              row.error,
            ]),
          ),
      }),
    );
}

/** @throws {CommandFailure} when it did not end well. */
async function followRollback(session: CliSession, tenant: string, started: RollbackAnswer, wait: boolean): Promise<void> {
  let rollback = started;
  while (wait && rollback.status !== "done" && rollback.status !== "failed") {
    await session.host.sleep(pollMs);
    const param = { id: segment(tenant), rollback_id: rollback.id };
    rollback = await session.ask((client) => client.tenants[":id"].rollbacks[":rollback_id"].$get({ param }));
  }
  await session.print(rollback, rollbackView);
  if (rollback.status === "failed") throw new CommandFailure(`rollback ${rollback.id} failed: ${rollback.error}; the tenant is as it was`);
}

interface NewTenantAnswer {
  readonly tenant_id: string;
  readonly status: string;
  readonly warnings: readonly string[];
  readonly databases: readonly { readonly connection_string: string | null }[];
}

const newTenantView: View<NewTenantAnswer> = {
  quiet: (answer) => answer.databases.flatMap((database) => database.connection_string ?? []).join("\n"),
  human: (answer) =>
    [
      `✓ Tenant ${sanitize(answer.tenant_id)} is ${answer.status}. Keep its connection strings: they are not shown again.`,
      ...answer.databases.map((database) => sanitize(database.connection_string ?? "")),
      ...answer.warnings.map((warning) => `! ${sanitize(warning)}`),
    ].join("\n"),
};

function addNewTenants(tenants: Command, session: CliSession): void {
  tenants
    .command("backup-restore")
    .description("Make a new tenant of a backup; its connection strings are shown once")
    .argument("<tenant>")
    .argument("<backup>")
    .requiredOption("--name <tenant>", "the new tenant: a-z, 0-9 and _")
    .option("--upgrade", "bring it to the blueprint's newest version")
    .action((id: string, backup: string, options: { name: string; upgrade?: boolean }) => {
      const param = { id: segment(id), backup_id: segment(backup) };
      const json = { tenant_id: options.name, ...(options.upgrade && { upgrade: true }) };
      return session.show<NewTenantAnswer>((client) => client.tenants[":id"].backups[":backup_id"].restore.$post({ param, json }), newTenantView);
    });
  tenants
    .command("clone")
    .description("Make a new tenant with what another has now; its connection strings are shown once")
    .argument("<tenant>")
    .requiredOption("--name <tenant>", "the new tenant: a-z, 0-9 and _")
    .addHelpText("after", "\nExample:\n  $ tdb tenants clone wayne --name wayne_test")
    .action((id: string, options: { name: string }) => {
      const call = { param: { id: segment(id) }, json: { tenant_id: options.name } };
      return session.show<NewTenantAnswer>((client) => client.tenants[":id"].clone.$post(call), newTenantView);
    });
}

interface ScheduleOptions {
  readonly cron?: string;
  readonly timeZone?: string;
  readonly keepCount?: number;
  readonly keepDays?: number;
  readonly remove?: boolean;
}

interface Schedule {
  readonly cron: string;
  readonly time_zone: string;
  readonly keep_count: number;
  readonly keep_days: number;
  readonly next_run_at: string;
  readonly last_run_at: string | null;
}

const scheduleView: View<{ schedule: Schedule | null }> = {
  quiet: ({ schedule }) => schedule?.cron ?? "",
  human: ({ schedule }) =>
    schedule === null
      ? "No schedule. Set one with --cron '0 3 * * *'."
      : formatFields([
          ["cron", `${schedule.cron} (${schedule.time_zone})`],
          [
            "keeps",
            [schedule.keep_count && `the newest ${schedule.keep_count}`, schedule.keep_days && `${schedule.keep_days} days`]
              .filter(Boolean)
              .join(", ") || "all",
          ],
          ["next", schedule.next_run_at],
          ["last", schedule.last_run_at ?? "never"],
        ]),
};

export function addWorkspaceBackupCommands(workspaces: Command, session: CliSession): void {
  workspaces
    .command("backup-schedule")
    .description("Show, set or remove when every tenant of a blueprint is backed up")
    .argument("<workspace>")
    .option("--cron <expression>", "minute, hour, day of month, month, day of week")
    .option("--time-zone <name>", "UTC unless told")
    .option("--keep-count <n>", "newest backups kept of each tenant (14 unless told); 0: no such limit", wholeNumber)
    .option("--keep-days <n>", "days they are kept; 0: no such limit", wholeNumber)
    .option("--remove", "no more scheduled backups; those there are stay")
    .addHelpText("after", "\nExample:\n  $ tdb workspaces backup-schedule myapp --cron '0 3 * * *' --time-zone Europe/Berlin --keep-count 14")
    .action(async (id: string, options: ScheduleOptions) => {
      const param = { id: segment(id) };
      const { cron, timeZone, keepCount, keepDays } = options;
      if (options.remove) {
        await session.show((client) => client.workspaces[":id"]["backup-schedule"].$delete({ param }), {
          human: (answer) => `✓ ${sanitize(answer.message)}`,
        });
        return;
      }
      if (cron === undefined) {
        if (timeZone !== undefined || keepCount !== undefined || keepDays !== undefined) throw new UsageError("a schedule needs --cron");
        await session.show<{ schedule: Schedule | null }>((client) => client.workspaces[":id"]["backup-schedule"].$get({ param }), scheduleView);
        return;
      }
      const json = {
        cron,
        ...(timeZone !== undefined && { time_zone: timeZone }),
        ...(keepCount !== undefined && { keep_count: keepCount }),
        ...(keepDays !== undefined && { keep_days: keepDays }),
      };
      await session.show<{ schedule: Schedule | null }>((client) => client.workspaces[":id"]["backup-schedule"].$put({ param, json }), scheduleView);
    });
}
