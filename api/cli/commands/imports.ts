/** tdb workspaces import-… */
import { type Command, Option } from "commander";
import { segment } from "../../client.ts";
import { CommandFailure, UsageError } from "../errors.ts";
import { formatFields, formatProgress, formatTable } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { collect, repeat, trueOrFalse, wholeNumber } from "./options.ts";

interface ImportTable {
  readonly table: string;
  readonly route: string;
  readonly follows: readonly string[];
  readonly rows: number;
  readonly unowned: readonly { readonly reason: string; readonly rows: number; readonly find: string }[];
}

interface Status {
  readonly import_id: string;
  readonly status: string;
  readonly phase: string;
  readonly source: string;
  readonly tenants_total: number;
  readonly tenants_done: number;
  readonly tenants_failed: number;
  readonly rows_total: number;
  readonly rows_done: number;
  readonly error: string | null;
  readonly tables: readonly ImportTable[];
  readonly warnings: readonly string[];
  readonly tenants: readonly { tenant_id: string; value: string; status: string; rows: number; duration_ms: number | null; error: string | null }[];
}

interface ImportOptions {
  source?: string;
  routingField?: string;
  shared?: "copy" | "skip";
  table: string[];
  follow: string[];
  tenantId: string[];
  skipColumn: string[];
  createTenants?: boolean;
  dropRoutingColumn?: boolean;
  verify?: "checksum" | "count";
  concurrency?: number;
  wait?: boolean;
  full?: boolean;
}

const pollMs = 500;

const statusView: View<Status> = {
  quiet: (answer) => answer.import_id,
  human: (answer) => {
    const fields = formatFields([
      ["import", answer.import_id],
      ["source", answer.source],
      ["status", answer.status === "running" ? `running (${answer.phase})` : answer.status],
      ["tenants", `${answer.tenants_done} of ${answer.tenants_total} done, ${answer.tenants_failed} failed`],
      ["rows", `${answer.rows_done} of ${answer.rows_total}`],
      ...(answer.error === null ? [] : [["error", answer.error] as const]),
    ]);
    const rows = answer.tenants.map((row) => [row.tenant_id, row.value, row.status, row.rows, row.duration_ms, row.error]);
    return [fields, formatTable(["TENANT", "VALUE", "STATUS", "ROWS", "MS", "ERROR"], rows), ...describeUnowned(answer.tables)].join("\n");
  },
};

/** Rows that stay behind, with the statement that shows them. */
function describeUnowned(tables: readonly ImportTable[]): string[] {
  const rows = tables.flatMap((table) => table.unowned.map((entry) => [table.table, entry.rows, entry.reason, entry.find]));
  return rows.length === 0
    ? []
    : ["Rows that belong to no tenant stay in the source:", formatTable(["TABLE", "ROWS", "WHY", "FIND THEM WITH"], rows)];
}

export function addImportCommands(program: Command, session: CliSession): void {
  const workspaces = program.commands.find((command) => command.name() === "workspaces")!;
  addRequestOptions(workspaces.command("import-analyze"))
    .description("Look at a shared database before an import: whose each table is, which tenants there are")
    .option("--full", "as for import-full: without comparing with the blueprint")
    .action(async (id: string, options: ImportOptions) => {
      const json = await readRequest(session, options);
      const query = options.full ? { full: "true" as const } : {};
      await session.show((client) => client.workspaces[":id"]["import-data"].analyze.$post({ param: { id: segment(id) }, query, json }), {
        quiet: (answer) => answer.tenants.map((tenant) => tenant.tenant_id).join("\n"),
        human: (answer) => {
          const tables = answer.tables.map((table) => [table.table, table.route, table.follows.join(", "), table.rows]);
          const tenants = answer.tenants.slice(0, 20).map((tenant) => [tenant.tenant_id, tenant.value, tenant.rows, tenant.exists ? "yes" : "no"]);
          const more = answer.tenant_count > tenants.length ? [`… and ${answer.tenant_count - tenants.length} more tenants`] : [];
          return [
            formatTable(["TABLE", "BELONGS BY", "FOLLOWS", "ROWS"], tables),
            formatTable(["TENANT", "VALUE", "ROWS", "EXISTS"], tenants),
            ...more,
            ...describeUnowned(answer.tables),
            ...answer.warnings.map((warning) => `Note: ${warning}`),
            ...answer.problems.map((problem) => `To be settled first: ${problem}`),
          ].join("\n");
        },
      });
    });
  addStart(workspaces, session, "import-data", "Split a shared database into tenants of this blueprint");
  addStart(workspaces, session, "import-full", "Load the structure of a shared database into an empty workspace, then split its rows into tenants");
  addFollowing(workspaces, session);
}

function addRequestOptions(command: Command): Command {
  return command
    .argument("<workspace>")
    .option(
      "--source <url>",
      "postgresql://user:password@host:5432/database?sslmode=require or mysql://…; TDB_IMPORT_SOURCE keeps it out of the process list",
    )
    .option("--routing-field <column>", "says whose a row is (tenant_id unless told)")
    .addOption(new Option("--shared <what>", "tables that belong to nobody: a copy for each tenant, or none").choices(["copy", "skip"]))
    .option("--table <table=what>", "copy or skip, for one table (repeat it)", repeat, [])
    .option("--follow <table=constraint>", "the foreign key that decides, where there are several (repeat it)", repeat, [])
    .option("--tenant-id <value=id>", "tenant of a routing value (repeat it)", repeat, [])
    .option("--skip-column <table.column>", "leave a column behind, with commas or repeated", collect, [])
    .option("--create-tenants <true|false>", "make the tenants that do not exist yet (true)", trueOrFalse)
    .option("--drop-routing-column <true|false>", "leave the routing column behind (true)", trueOrFalse)
    .addOption(new Option("--verify <how>", "read back and compare, or count").choices(["checksum", "count"]))
    .option("--concurrency <n>", "tenants at a time", wholeNumber);
}

function addStart(workspaces: Command, session: CliSession, name: "import-data" | "import-full", description: string): void {
  addRequestOptions(workspaces.command(name))
    .description(description)
    .option("--wait", "until it has ended; exit code 1 if it failed")
    .addHelpText(
      "after",
      `\nExample:\n  $ TDB_IMPORT_SOURCE=postgresql://reader:secret@db.example/shared tdb workspaces ${name} myapp --shared copy --wait`,
    )
    .action(async (id: string, options: ImportOptions) => {
      const json = await readRequest(session, options);
      const call = { param: { id: segment(id) }, json };
      const started = await session.ask<Status>((client) => client.workspaces[":id"][name].$post(call));
      if (options.wait) await followImport(session, id, started.import_id);
      else await session.print(started, statusView);
    });
}

function addFollowing(workspaces: Command, session: CliSession): void {
  workspaces
    .command("import-status")
    .description("How far an import is, tenant by tenant")
    .argument("<workspace>")
    .option("--import-id <id>", "the newest unless told")
    .option("--wait", "until it has ended; exit code 1 if it failed")
    .action(async (id: string, options: { importId?: string; wait?: boolean }) => {
      if (options.wait) await followImport(session, id, options.importId);
      else await session.print(await askStatus(session, id, options.importId), statusView);
    });
  for (const [name, description] of [
    ["cancel", "Stop an import: tenants in progress are taken back, those done stay"],
    ["retry", "Go on with the tenants of an import that are not done"],
  ] as const) {
    workspaces
      .command(`import-${name}`)
      .description(description)
      .argument("<workspace>")
      .option("--import-id <id>", "the newest unless told")
      .action(async (id: string, options: { importId?: string }) => {
        const importId = options.importId ?? (await askStatus(session, id, undefined, "none")).import_id;
        const call = { param: { id: segment(id) }, json: { import_id: importId } };
        await session.show<Status>((client) => client.workspaces[":id"]["import-data"][name].$post(call), statusView);
      });
  }
}

function askStatus(session: CliSession, id: string, importId: string | undefined, tenants: "all" | "none" = "all"): Promise<Status> {
  const query = { tenants, ...(importId !== undefined && { import_id: importId }) };
  return session.ask<Status>((client) => client.workspaces[":id"]["import-data"].status.$get({ param: { id: segment(id) }, query }));
}

/** Asks until the import has ended, with a bar on a terminal. @throws {CommandFailure} when it did not end well. */
async function followImport(session: CliSession, id: string, importId: string | undefined): Promise<void> {
  const { stderr } = session.host;
  const showsBar = stderr.isTTY && !session.options.quiet && !session.options.json;
  for (;;) {
    const state = await askStatus(session, id, importId, "none"); // tenants come once, at the end: thousands are megabytes
    if (showsBar)
      stderr.write(`\r${formatProgress(state.rows_done, 0, state.rows_total)} rows, ${state.tenants_done}/${state.tenants_total} tenants`);
    if (state.status === "queued" || state.status === "running") {
      await session.host.sleep(pollMs);
      continue;
    }
    if (showsBar) stderr.write("\n");
    await session.print(await askStatus(session, id, state.import_id), statusView);
    if (state.status !== "done") throw new CommandFailure(`import ${state.import_id} ${state.status}: \`tdb workspaces import-retry ${id}\` goes on`);
    return;
  }
}

async function readRequest(session: CliSession, options: ImportOptions) {
  const source = options.source ?? session.host.env.TDB_IMPORT_SOURCE;
  if (!source) throw new UsageError("say where the shared database is: --source <url>, or TDB_IMPORT_SOURCE");
  const tables = Object.entries(pairs("--table", options.table)).map(([table, what]) => {
    if (what !== "copy" && what !== "skip") throw new UsageError(`--table must be <table>=copy or <table>=skip, not ${table}=${what}`);
    return [table, what] as const;
  });
  return {
    connection: source,
    tables: Object.fromEntries(tables),
    follow: pairs("--follow", options.follow),
    tenant_ids: pairs("--tenant-id", options.tenantId),
    skip_columns: options.skipColumn,
    ...(options.routingField !== undefined && { routing_field: options.routingField }),
    ...(options.shared !== undefined && { shared_tables: options.shared }),
    ...(options.createTenants !== undefined && { create_tenants: options.createTenants }),
    ...(options.dropRoutingColumn !== undefined && { drop_routing_column: options.dropRoutingColumn }),
    ...(options.verify !== undefined && { verify: options.verify }),
    ...(options.concurrency !== undefined && { concurrency: options.concurrency }),
  };
}

/** `a=b`, cut at the last `=`: routing values may hold one. */
function pairs(flag: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.lastIndexOf("=");
      if (at <= 0 || at === text.length - 1) throw new UsageError(`${flag} must be of the form name=value, not ${text}`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}
