/** tdb query: one statement in a tenant's database. */
import type { Command } from "commander";
import { segment } from "../../client.ts";
import type { CliSession } from "../session.ts";
import { queryView } from "./answers.ts";
import { repeat } from "./options.ts";

export function addQueryCommand(program: Command, session: CliSession): void {
  program
    .command("query")
    .description("Run one statement in a tenant's database")
    .requiredOption("--tenant <tenant>")
    .requiredOption("--query <sql>", "the statement; - reads it from standard input")
    .option("--blueprint <name>", "needed when the tenant has several")
    .option("--param <value>", "value of $1, $2 … (repeat it)", repeat, [])
    .addHelpText("after", `\nExample:\n  $ tdb query --tenant wayne --query 'SELECT * FROM accounts WHERE id = $1' --param 7`)
    .action(async (options: { tenant: string; query: string; blueprint?: string; param: string[] }) => {
      const json = {
        query: await readStatement(session, options.query),
        params: options.param,
        ...(options.blueprint !== undefined && { blueprint: options.blueprint }),
      };
      await session.show((client) => client.tenants[":id"].query.$post({ param: { id: segment(options.tenant) }, json }), queryView);
    });
}

/** `-` stands for standard input. */
export async function readStatement(session: CliSession, given: string): Promise<string> {
  return given === "-" ? session.host.readInput() : given;
}
