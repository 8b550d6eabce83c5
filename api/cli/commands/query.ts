/** tdb query: one statement in a tenant's database, or in every tenant's. */
import type { Command } from "commander";
import { type Answering, segment } from "../../client.ts";
import { CommandFailure, UsageError } from "../errors.ts";
import { cell, formatTable, sanitize } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { queryView } from "./answers.ts";
import { repeat, wholeNumber } from "./options.ts";

interface QueryOptions {
  tenant?: string;
  all?: boolean;
  concurrency?: number;
  query?: string;
  blueprint?: string;
  param: string[];
}

interface FleetAnswer {
  readonly tenants_failed: number;
  readonly results: readonly {
    readonly tenant_id: string;
    readonly error: string | null;
    readonly columns?: readonly { readonly name: string }[];
    readonly rows?: readonly (readonly unknown[])[];
    readonly row_count?: number;
    readonly command?: string;
  }[];
}

const examples = `
Examples:
  $ tdb query --tenant wayne 'SELECT * FROM accounts WHERE id = $1' --param 7
  $ tdb query --tenant wayne < report.sql
  $ tdb query --all --blueprint myapp 'SELECT count(*) FROM accounts'`;

export function addQueryCommand(program: Command, session: CliSession): void {
  program
    .command("query")
    .description("Run one statement in a tenant's database, or in those of every tenant of a blueprint")
    .option("--tenant <tenant>")
    .option("--all", "every tenant of --blueprint; exit code 1 when it failed for one")
    .option("--concurrency <n>", "with --all: tenants asked at a time", wholeNumber)
    .argument("[sql]", "the statement; without one, or with -, it is read from standard input")
    .option("--query <sql>", "the same as an option")
    .option("--blueprint <name>", "needed when the tenant has several")
    .option("--param <value>", "value of $1, $2 … (repeat it)", repeat, [])
    .addHelpText("after", examples)
    .action(async (sql: string | undefined, options: QueryOptions) => {
      if (options.all) return await queryAll(session, sql, options);
      const { tenant } = options;
      if (tenant === undefined) throw new UsageError("say whose database: --tenant <tenant>, or --all with --blueprint <name>");
      const json = {
        query: await readStatement(session, chooseStatement(session, sql, options.query)),
        params: options.param,
        ...(options.blueprint !== undefined && { blueprint: options.blueprint }),
      };
      await session.show((client) => client.tenants[":id"].query.$post({ param: { id: segment(tenant) }, json }), queryView);
    });
}

async function queryAll(session: CliSession, sql: string | undefined, options: QueryOptions): Promise<void> {
  const { blueprint, tenant, param, concurrency } = options;
  if (blueprint === undefined || tenant !== undefined) throw new UsageError("--all needs --blueprint <name>, and no --tenant");
  const query = await readStatement(session, chooseStatement(session, sql, options.query));
  const json = { blueprint, query, params: param, all_tenants: true, ...(concurrency !== undefined && { concurrency }) };
  const answer = await session.ask<FleetAnswer>((client) => client.admin.query.$post({ json }) as Promise<Answering<FleetAnswer>>);
  await session.print(answer, fleetView);
  if (answer.tenants_failed > 0) throw new CommandFailure(`it failed for ${answer.tenants_failed} of ${answer.results.length} tenants`);
}

/** One table for all: tenants of a blueprint answer with the same columns. */
const fleetView: View<FleetAnswer> = {
  quiet: ({ results }) => results.flatMap((each) => (each.rows ?? []).map((row) => [each.tenant_id, ...row.map(cell)].join("\t"))).join("\n"),
  human: ({ results }) => {
    const columns = results.find((each) => each.columns)?.columns?.map((column) => column.name) ?? [];
    const rows = results.flatMap((each) => (each.rows ?? []).map((row) => [each.tenant_id, ...row]));
    const failures = results.flatMap((each) => (each.error === null ? [] : [`${sanitize(each.tenant_id)}: ${sanitize(each.error)}`]));
    const written = results
      .filter((each) => each.columns?.length === 0)
      .map((each) => `${sanitize(each.tenant_id)}: ${each.command} ${each.row_count}`);
    return [...(columns.length > 0 ? [formatTable(["TENANT", ...columns], rows)] : []), ...written, ...failures].join("\n");
  },
};

/** @throws {UsageError} when there is none, or more than one. */
function chooseStatement(session: CliSession, sql: string | undefined, option: string | undefined): string {
  if (sql !== undefined && option !== undefined) throw new UsageError("give the statement once: as an argument or with --query");
  const given = sql ?? option;
  if (given !== undefined) return given;
  if (session.host.hasInput) return "-";
  throw new UsageError('give a statement: tdb query --tenant wayne "SELECT 1", or pipe one in');
}

/** `-` stands for standard input. */
export async function readStatement(session: CliSession, given: string): Promise<string> {
  return given === "-" ? session.host.readInput() : given;
}
