/** tdb query: one statement in a tenant's database. */
import type { Command } from "commander";
import { segment } from "../../client.ts";
import { UsageError } from "../errors.ts";
import type { CliSession } from "../session.ts";
import { queryView } from "./answers.ts";
import { repeat } from "./options.ts";

const examples = `
Examples:
  $ tdb query --tenant wayne 'SELECT * FROM accounts WHERE id = $1' --param 7
  $ tdb query --tenant wayne < report.sql`;

export function addQueryCommand(program: Command, session: CliSession): void {
  program
    .command("query")
    .description("Run one statement in a tenant's database")
    .requiredOption("--tenant <tenant>")
    .argument("[sql]", "the statement; without one, or with -, it is read from standard input")
    .option("--query <sql>", "the same as an option")
    .option("--blueprint <name>", "needed when the tenant has several")
    .option("--param <value>", "value of $1, $2 … (repeat it)", repeat, [])
    .addHelpText("after", examples)
    .action(async (sql: string | undefined, options: { tenant: string; query?: string; blueprint?: string; param: string[] }) => {
      const json = {
        query: await readStatement(session, chooseStatement(session, sql, options.query)),
        params: options.param,
        ...(options.blueprint !== undefined && { blueprint: options.blueprint }),
      };
      await session.show((client) => client.tenants[":id"].query.$post({ param: { id: segment(options.tenant) }, json }), queryView);
    });
}

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
