/** tdb tenants logs|stats|metrics and tdb workspaces logs|stats: what ran in the databases. */
import { type Command, Option } from "commander";
import { segment } from "../../client.ts";
import { formatFields, formatTable } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { addPaging, collect, type PagingOptions, pageQuery, wholeNumber } from "./options.ts";

interface LogOptions extends PagingOptions {
  readonly type: string[];
  readonly since?: string;
  readonly until?: string;
  readonly credential?: string;
  readonly search?: string;
  readonly sqlstate?: string;
  readonly fingerprint?: string;
  readonly session?: string;
  readonly via?: "wire" | "api";
  readonly transaction?: string;
}

interface RangeOptions {
  readonly since?: string;
  readonly until?: string;
  readonly limit?: number;
}

const when = "a time as 2027-01-31T14:05:00Z, or a span back from now as 30m, 12h or 7d";

export function addTenantLogCommands(tenants: Command, session: CliSession): void {
  addLogOptions(tenants.command("logs"), "tenant", "Statements that ran in a tenant's databases, the newest first", "tdb tenants logs wayne").action(
    (id: string, options: LogOptions) =>
      session.show((client) => client.tenants[":id"].logs.$get({ param: { id: segment(id) }, query: logQuery(options) }), logsView),
  );
  addRangeOptions(tenants.command("stats"), "Where a tenant's time goes, and what fails", "tdb tenants stats wayne")
    .argument("<tenant>")
    .option("--limit <n>", "at most this many of each (20 unless told)", wholeNumber)
    .action((id: string, options: RangeOptions) =>
      session.show((client) => client.tenants[":id"].logs.stats.$get({ param: { id: segment(id) }, query: rangeQuery(options) }), statsView),
    );
  addRangeOptions(tenants.command("metrics"), "How much a tenant uses its databases; the last 24 hours unless told", "tdb tenants metrics wayne")
    .argument("<tenant>")
    .action((id: string, { since, until }: RangeOptions) =>
      session.show((client) => client.tenants[":id"].metrics.$get({ param: { id: segment(id) }, query: rangeQuery({ since, until }) }), metricsView),
    );
}

export function addWorkspaceLogCommands(workspaces: Command, session: CliSession): void {
  addLogOptions(
    workspaces.command("logs"),
    "workspace",
    "Statements that ran in a workspace itself, the newest first",
    "tdb workspaces logs myapp",
  ).action((id: string, options: LogOptions) =>
    session.show((client) => client.workspaces[":id"].logs.$get({ param: { id: segment(id) }, query: logQuery(options) }), logsView),
  );
  addRangeOptions(workspaces.command("stats"), "Where the time of a workspace's own statements goes, and what fails", "tdb workspaces stats myapp")
    .argument("<workspace>")
    .option("--limit <n>", "at most this many of each (20 unless told)", wholeNumber)
    .action((id: string, options: RangeOptions) =>
      session.show((client) => client.workspaces[":id"].logs.stats.$get({ param: { id: segment(id) }, query: rangeQuery(options) }), statsView),
    );
}

function addLogOptions(command: Command, noun: "tenant" | "workspace", description: string, example: string): Command {
  return addPaging(command)
    .description(description)
    .argument(`<${noun}>`)
    .option("--type <types>", "error, slow or both with a comma; every statement unless told", collect, [])
    .option("--since <when>", when)
    .option("--until <when>", "as --since; up to, not including")
    .option("--search <text>", "text that stands in the statement")
    .option("--credential <key_id>", "statements of this key")
    .option("--sqlstate <code>", "statements that failed with it")
    .option("--fingerprint <hex>", "statements alike but for their values; `stats` shows it")
    .option("--session <id>", "statements of one connection")
    .addOption(new Option("--via <way>", "how they came: over a connection, or in a request to the API").choices(["wire", "api"]))
    .option("--transaction <id>", "statements of one transaction")
    .addHelpText(
      "after",
      `
Examples:
  $ ${example} --since 2027-01-31T14:00:00Z --until 2027-01-31T14:10:00Z
  $ ${example} --type error,slow --since 1h
  $ ${example} --search "from accounts" --json`,
    );
}

function addRangeOptions(command: Command, description: string, example: string): Command {
  return command
    .description(description)
    .option("--since <when>", when)
    .option("--until <when>", "as --since; up to, not including")
    .addHelpText("after", `\nExample:\n  $ ${example} --since 1h`);
}

function logQuery({ type, limit, cursor, ...filters }: LogOptions) {
  return {
    ...pageQuery({ ...(limit !== undefined && { limit }), ...(cursor !== undefined && { cursor }) }),
    ...filters,
    ...(type.length > 0 && { type: type.join(",") }),
  };
}

function rangeQuery({ since, until, limit }: { since?: string | undefined; until?: string | undefined; limit?: number | undefined }) {
  return { ...(since !== undefined && { since }), ...(until !== undefined && { until }), ...(limit !== undefined && { limit: String(limit) }) };
}

interface LogRow {
  readonly id: number;
  readonly at: string;
  readonly credential_id: string;
  readonly address: string;
  readonly transaction_id: string;
  readonly duration_ms: number;
  readonly rows: number;
  readonly sqlstate: string | null;
  readonly slow: boolean;
  readonly statement: string;
}

const logsView: View<{ readonly logs: readonly LogRow[] }> = {
  quiet: ({ logs }) => logs.map((row) => row.statement.replaceAll(/\s+/g, " ")).join("\n"),
  human: ({ logs }) =>
    formatTable(
      ["TIME", "MS", "ROWS", "RESULT", "KEY", "FROM", "TRANSACTION", "STATEMENT"],
      logs.map((row) => [
        row.at,
        row.duration_ms,
        row.rows,
        [row.sqlstate ?? "ok", ...(row.slow ? ["slow"] : [])].join(", "),
        row.credential_id,
        row.address,
        row.transaction_id,
        row.statement,
      ]),
    ),
};

interface Stats {
  readonly top_statements: readonly {
    readonly fingerprint: string;
    readonly statement: string;
    readonly calls: number;
    readonly errors: number;
    readonly total_ms: number;
    readonly mean_ms: number;
    readonly max_ms: number;
  }[];
  readonly errors: readonly { readonly sqlstate: string; readonly count: number; readonly last_at: string; readonly statement: string }[];
  readonly dropped: number;
}

const statsView: View<Stats> = {
  quiet: ({ top_statements }) => top_statements.map((row) => row.fingerprint).join("\n"),
  human: ({ top_statements, errors, dropped }) =>
    [
      formatTable(
        ["TOTAL MS", "CALLS", "MEAN MS", "MAX MS", "ERRORS", "FINGERPRINT", "STATEMENT"],
        top_statements.map((row) => [row.total_ms, row.calls, row.mean_ms, row.max_ms, row.errors, row.fingerprint, row.statement]),
      ),
      ...(errors.length === 0
        ? []
        : [
            formatTable(
              ["SQLSTATE", "COUNT", "LAST", "STATEMENT"],
              errors.map((row) => [row.sqlstate, row.count, row.last_at, row.statement]),
            ),
          ]),
      ...(dropped === 0 ? [] : [`${dropped} statements are missing: too many at once (query_log.max_per_database_per_s)`]),
    ].join("\n"),
};

interface UsageRow {
  readonly statements: number;
  readonly errors: number;
  readonly slow: number;
  readonly rows: number;
  readonly bytes_received: number;
  readonly bytes_sent: number;
  readonly p50_ms: number | null;
  readonly p95_ms: number | null;
  readonly p99_ms: number | null;
}

const metricsView: View<{
  readonly sessions: number | null;
  readonly total: UsageRow;
  readonly series: readonly (UsageRow & { readonly at: string })[];
}> = {
  quiet: ({ total }) => String(total.statements),
  human: ({ sessions, total, series }) =>
    [
      formatFields([["sessions", sessions], ...Object.entries(total)]),
      formatTable(
        ["TIME", "STATEMENTS", "ERRORS", "SLOW", "ROWS", "RECEIVED", "SENT", "P50 MS", "P95 MS", "P99 MS"],
        series.map((row) => [
          row.at,
          row.statements,
          row.errors,
          row.slow,
          row.rows,
          row.bytes_received,
          row.bytes_sent,
          row.p50_ms,
          row.p95_ms,
          row.p99_ms,
        ]),
      ),
    ].join("\n"),
};
