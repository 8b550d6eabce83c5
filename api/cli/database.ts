/** Which database a command means by a name, and the password that opens it: for commands that connect by themselves. */
import { parseDatabaseName } from "../../core/scope.ts";
import { ApiError, segment } from "../client.ts";
import { CommandFailure, UsageError } from "./errors.ts";
import type { CliSession } from "./session.ts";

export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

export interface Found {
  readonly kind: "workspace" | "tenant";
  readonly connection: Connection;
}

/** @param name a workspace, a tenant, or a full name as myapp_workspace or myapp__wayne. @throws {CommandFailure} {UsageError} */
export async function findDatabase(session: CliSession, name: string, blueprint: string | undefined): Promise<Found> {
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

/**
 * The CA of a gateway started from this folder, for databases of that gateway only: --api-url may name another, whose certificate it did not sign.
 * By address of the database, since one API has many: localhost is 127.0.0.1.
 */
export async function findCaFile(session: CliSession, { host, port }: Connection): Promise<string | undefined> {
  const local = await session.localCredentials();
  const isItsOwn = (local?.pg_host ?? host) === host && (local?.pg_port ?? port) === port;
  return isItsOwn ? (local?.ca_file ?? undefined) : undefined;
}

/** What was given, else what is known: the project's proxy password, or the key in use, which opens the wire too. */
export async function findPassword(session: CliSession, { kind, connection }: Found, ask: boolean): Promise<string> {
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
