/** tdb psql: opens psql on a workspace or a tenant's database, with the password in its environment and not in its arguments. */
import type { Command } from "commander";
import { parseDatabaseName } from "../../../core/scope.ts";
import { ApiError, segment } from "../../client.ts";
import { CommandFailure, UsageError } from "../errors.ts";
import type { CliSession } from "../session.ts";

interface Connection {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

interface Found {
  readonly kind: "workspace" | "tenant";
  readonly connection: Connection;
}

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
      const env = { PGHOST: host, PGPORT: String(port), PGDATABASE: database, PGUSER: user, PGPASSWORD: password, ...(await tlsSettings(session)) };
      const code = await session.host.run("psql", rest, env).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") throw new CommandFailure("psql is not installed; it comes with the PostgreSQL client package");
        throw error;
      });
      if (code !== 0) throw new CommandFailure(`psql ended with exit code ${code}`);
    });
}

async function findDatabase(session: CliSession, name: string, blueprint: string | undefined): Promise<Found> {
  const full = parseDatabaseName(name);
  if (full?.kind === "workspace") return need(await findWorkspace(session, full.workspace), name);
  if (full?.kind === "tenant") return need(await findTenant(session, full.tenant, full.workspace), name);
  const [workspace, tenant] = await Promise.all([
    blueprint === undefined ? findWorkspace(session, name) : undefined,
    findTenant(session, name, blueprint),
  ]);
  if (workspace && tenant) {
    const names = `${workspace.connection.database} or ${tenant.connection.database}`;
    throw new UsageError(`there is a workspace and a tenant of this name; say ${names}`);
  }
  return need(workspace ?? tenant, name);
}

function need(found: Found | undefined, name: string): Found {
  if (found) return found;
  throw new CommandFailure(`no workspace and no tenant ${name} in reach of this key: \`tdb workspaces list\` and \`tdb tenants list\` show them`);
}

async function findWorkspace(session: CliSession, name: string): Promise<Found | undefined> {
  const answer = await session.ask((client) => client.workspaces[":id"].$get({ param: { id: segment(name) } })).catch(undefinedIfOutOfReach);
  if (!answer) return undefined;
  if (answer.database !== "PostgreSQL" || !answer.connection) throw new CommandFailure(`workspace ${name} is ${answer.database}, not PostgreSQL`);
  return { kind: "workspace", connection: answer.connection };
}

async function findTenant(session: CliSession, id: string, blueprint: string | undefined): Promise<Found | undefined> {
  const answer = await session.ask((client) => client.tenants[":id"].$get({ param: { id: segment(id) } })).catch(undefinedIfOutOfReach);
  if (!answer) return undefined;
  const fits = answer.databases.filter((row) => row.database_type === "PostgreSQL" && (blueprint === undefined || row.blueprint === blueprint));
  if (fits.length > 1)
    throw new UsageError(`tenant ${id} has several databases; add --blueprint with one of ${fits.map((row) => row.blueprint).join(", ")}`);
  const connection = fits[0]?.connection;
  return connection ? { kind: "tenant", connection } : undefined;
}

function undefinedIfOutOfReach(error: unknown): undefined {
  if (error instanceof ApiError && (error.code === "not_found" || error.code === "scope_denied")) return undefined;
  throw error;
}

/** What was given, else what is known: the project's proxy password, or the key in use, which opens the wire too. */
async function findPassword(session: CliSession, { kind, connection }: Found, ask: boolean): Promise<string> {
  const prompt = `Proxy password for ${connection.database}: `;
  if (ask) return session.readPassword(undefined, "TDB_PROXY_PASSWORD", prompt);
  const given = session.host.env.TDB_PROXY_PASSWORD;
  if (given) return given;
  if (kind === "workspace") {
    const local = await session.localCredentials();
    const known =
      (await session.config()).projects?.[connection.user]?.proxy_password ??
      (local?.project_id === connection.user ? local.proxy_password : undefined);
    if (known) return known;
  }
  const { secret } = await session.target();
  if (kind === "workspace" && secret?.startsWith("tenantsdb_sk_")) return secret;
  const asked = await session.host.readSecret(prompt);
  if (asked) return asked;
  throw new CommandFailure(
    `the proxy password of ${connection.database} is needed: set TDB_PROXY_PASSWORD. It was shown when the ${kind} was made; \`tdb apikeys create --scope-type ${kind}\` makes another`,
  );
}

/** Verifies the certificate where the CA is at hand. */
async function tlsSettings(session: CliSession): Promise<Record<string, string>> {
  const { env } = session.host;
  if (env.PGSSLMODE) return {};
  const caFile = (await session.localCredentials())?.ca_file;
  return caFile ? { PGSSLMODE: "verify-full", PGSSLROOTCERT: caFile } : { PGSSLMODE: "require" };
}
