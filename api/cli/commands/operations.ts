/** tdb sessions, tdb bans, tdb audit: a running gateway. */
import type { Command } from "commander";
import { segment } from "../../client.ts";
import { formatTable, sanitize } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { addPaging, type PagingOptions, pageQuery } from "./options.ts";

export function addOperationsCommands(program: Command, session: CliSession): void {
  addSessionCommands(program, session);
  addBanCommands(program, session);
  addAuditCommand(program, session);
}

function addSessionCommands(program: Command, session: CliSession): void {
  const sessions = program.command("sessions").description("Who is connected; kill ends a session");
  addPaging(sessions.command("list", { isDefault: true }))
    .description("Connections to the project's databases")
    .action((options: PagingOptions) =>
      session.show((client) => client.sessions.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.sessions.map((row) => row.id).join("\n"),
        human: (answer) =>
          formatTable(
            ["ID", "DATABASE", "KEY", "ROLE", "ADDRESS", "STATE", "WAITING FOR", "PINNED BY", "SINCE", "CONNECTED"],
            answer.sessions.map((row) => [
              ...[row.id, row.database, row.credential_name, row.role, row.address, row.state],
              ...[
                row.position === null ? row.waiting_for : `${row.waiting_for}, place ${row.position}`,
                row.pinned_by.join(", "),
                row.since,
                row.connected_at,
              ],
            ]),
          ),
      }),
    );
  sessions
    .command("kill")
    .description("End a session; its client is told 57P01")
    .argument("<session_id>")
    .action((id: string) =>
      session.show((client) => client.sessions[":id"].$delete({ param: { id: segment(id) } }), {
        quiet: (answer) => answer.id,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      }),
    );
}

function addBanCommands(program: Command, session: CliSession): void {
  const bans = program.command("bans").description("Addresses banned for wrong passwords; lift lets one in again");
  addPaging(bans.command("list", { isDefault: true }))
    .description("Bans in force")
    .action((options: PagingOptions) =>
      session.show((client) => client.bans.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.bans.map((row) => row.ip).join("\n"),
        human: (answer) =>
          formatTable(
            ["ADDRESS", "SECONDS LEFT"],
            answer.bans.map((row) => [row.ip, row.retry_after_s]),
          ),
      }),
    );
  bans
    .command("lift")
    .description("End a ban now")
    .argument("<ip>")
    .action((ip: string) =>
      session.show((client) => client.bans[":ip"].$delete({ param: { ip: segment(ip) } }), {
        quiet: (answer) => answer.ip,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      }),
    );
}

export interface AuditOptions extends PagingOptions {
  readonly since?: string;
  readonly until?: string;
  readonly credential?: string;
}

function addAuditCommand(program: Command, session: CliSession): void {
  addAuditOptions(program.command("audit"))
    .description("Who changed what over the API, the newest first")
    .option("--credential <key_id>", "changes made with this key")
    .action((options: AuditOptions) => session.show((client) => client.audit.$get({ query: auditQuery(options) }), auditView));
}

export function addAuditOptions(command: Command): Command {
  return addPaging(command)
    .option("--since <when>", "a time as 2027-01-31T00:00:00Z, or a span back from now as 30m, 12h or 7d")
    .option("--until <when>", "as --since; up to, not including");
}

export function auditQuery({ since, until, credential, ...page }: AuditOptions) {
  return {
    ...pageQuery(page),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
    ...(credential !== undefined && { credential }),
  };
}

interface Changes {
  readonly changes: readonly {
    readonly at: string;
    readonly actor: string;
    readonly address: string;
    readonly action: string;
    readonly target: string | null;
    readonly before: unknown;
    readonly after: unknown;
    readonly http_status: number;
    readonly request_id: string;
  }[];
}

export const auditView: View<Changes> = {
  quiet: (answer) => answer.changes.map((row) => row.request_id).join("\n"),
  human: (answer) =>
    formatTable(
      ["TIME", "WHO", "FROM", "WHAT", "TARGET", "BEFORE", "AFTER", "STATUS"],
      answer.changes.map((row) => [row.at, row.actor, row.address, row.action, row.target, row.before, row.after, row.http_status]),
    ),
};
