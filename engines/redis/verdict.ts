/** What a Redis client that has proven a secret is told: its user name, a blueprint or a tenant, is looked up as a database. */
import type { Visit } from "../../core/doorman.ts";
import { GatewayError, type RefusalKind } from "../../core/errors.ts";
import type { Identity } from "../../core/identity.ts";
import { formatDatabaseName, isTenantId, isWorkspaceName, parseDatabaseName, type Scope } from "../../core/scope.ts";

/** Most blueprints a tenant is looked for in. */
const maxBlueprints = 50;
/** The most telling first: the database that is a Redis one, then one with a state or an engine of its own, then what is out of reach. */
const telling: readonly RefusalKind[] = [
  "not_proxied",
  "tenant_suspended",
  "tenant_in_trash",
  "not_ready",
  "wrong_engine",
  "revoked",
  "scope_denied",
];

/** `user` is undefined where the client named none: a scope of one tenant or one workspace says which. @throws {GatewayError} store_unavailable */
export async function findRedisVerdict(visit: Visit, identity: Identity, user: string | undefined): Promise<GatewayError> {
  const named = user ?? onlyName(identity.credential.scope) ?? (await defaultName(visit, identity));
  if (named === undefined) {
    const text = "no user name given: connect with the blueprint or the tenant as user name, rediss://{blueprint or tenant}:{password}@host:port/0";
    return new GatewayError("bad_request", text);
  }
  let best: GatewayError | undefined;
  for (const databaseName of await findDatabaseNames(visit, identity, named)) {
    const verdict = await visit.findVerdict(identity, databaseName);
    if (!best || rank(verdict) < rank(best)) best = verdict;
    if (rank(best) === 0) break;
  }
  const { scope } = identity.credential;
  const isOwnTenant = scope.type === "tenant" && scope.values.includes(named);
  if (isOwnTenant && best?.kind === "scope_denied") {
    return new GatewayError("no_such_database", `tenant "${named}" has no database, or is in trash`);
  }
  if (best && best.kind !== "no_such_database") return best;
  return new GatewayError("no_such_database", `blueprint or tenant "${shown(named)}" does not exist`);
}

/** The databases a name may mean, the likelier first: a tenant's credential names tenants, every other one blueprints. */
async function findDatabaseNames(visit: Visit, identity: Identity, named: string): Promise<string[]> {
  const { scope } = identity.credential;
  const workspace = isWorkspaceName(named) ? [formatDatabaseName({ kind: "workspace", workspace: named })] : [];
  const tenants: string[] = [];
  if (isTenantId(named)) {
    const blueprints = scope.type === "workspace" ? scope.values : await reachableBlueprints(visit, identity);
    for (const blueprint of blueprints.slice(0, maxBlueprints)) {
      tenants.push(formatDatabaseName({ kind: "tenant", workspace: blueprint, tenant: named }));
    }
  }
  return scope.type === "tenant" ? [...tenants, ...workspace] : [...workspace, ...tenants];
}

async function reachableBlueprints(visit: Visit, identity: Identity): Promise<string[]> {
  const names = (await visit.listDatabases(identity)).map((name) => parseDatabaseName(name)?.workspace);
  return [...new Set(names.filter((name) => name !== undefined))];
}

function onlyName(scope: Scope): string | undefined {
  return scope.type !== "project" && scope.values.length === 1 ? scope.values[0] : undefined;
}

/** A project with a single workspace needs no user name either. */
async function defaultName(visit: Visit, identity: Identity): Promise<string | undefined> {
  if (identity.credential.scope.type !== "project") return undefined;
  const blueprints = await reachableBlueprints(visit, identity);
  return blueprints.length === 1 ? blueprints[0] : undefined;
}

function rank(verdict: GatewayError): number {
  const at = telling.indexOf(verdict.kind);
  return at < 0 ? telling.length : at;
}

function shown(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(0, 63);
}
