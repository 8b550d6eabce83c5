/** tdb psql: opens psql on a workspace or a tenant's database, with the password in its environment and not in its arguments. */
import type { Command } from "commander";
import { type Connection, findCaFile, findDatabase, findPassword } from "../database.ts";
import { CommandFailure } from "../errors.ts";
import type { CliSession } from "../session.ts";

export function addPsqlCommand(program: Command, session: CliSession): void {
  program
    .command("psql")
    .description("Open psql on a workspace or a tenant")
    .argument("<database>", "a workspace, a tenant, or a full name as myapp_workspace or myapp__wayne")
    .argument("[psql arguments...]", "after --, passed on to psql")
    .option("--blueprint <name>", "which database of a tenant that has several")
    .option("--password", "ask for the proxy password (else TDB_PROXY_PASSWORD, or what is known)")
    .addHelpText("after", "\nExamples:\n  $ tdb psql myapp\n  $ TDB_PROXY_PASSWORD=tdb_… tdb psql wayne -- -c 'SELECT 1'")
    .action(async (name: string, rest: string[], options: { blueprint?: string; password?: boolean }) => {
      const found = await findDatabase(session, name, options.blueprint);
      const password = await findPassword(session, found, options.password === true);
      const { host, port, database, user } = found.connection;
      const env = {
        PGHOST: host,
        PGPORT: String(port),
        PGDATABASE: database,
        PGUSER: user,
        PGPASSWORD: password,
        PGREQUIREAUTH: "scram-sha-256", // libpq 16 and newer: never in clear to whoever asks
        ...(await tlsSettings(session, found.connection)),
      };
      const code = await session.host.run("psql", rest, env).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") throw new CommandFailure("psql is not installed; it comes with the PostgreSQL client package");
        throw error;
      });
      if (code !== 0) throw new CommandFailure(`psql ended with exit code ${code}`);
    });
}

/** Verifies the certificate where the CA is at hand. */
async function tlsSettings(session: CliSession, connection: Connection): Promise<Record<string, string>> {
  const { env } = session.host;
  if (env.PGSSLMODE) return {};
  const caFile = await findCaFile(session, connection);
  return caFile ? { PGSSLMODE: "verify-full", PGSSLROOTCERT: caFile } : { PGSSLMODE: "require" };
}
