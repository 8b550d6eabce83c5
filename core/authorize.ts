/** The checks after authentication, in the order of spec section 3: state, scope, engine, max_connections. */
import type { Clock } from "./clock.ts";
import type { Directory, RouteTarget } from "./directory.ts";
import { GatewayError } from "./errors.ts";
import type { Grant, Identity } from "./identity.ts";
import { credentialGone, isUsable, type LiveDatabase, type LiveDatabases } from "./live.ts";
import { type Credential, type EngineName, type PhysicalDatabase, proxyNames } from "./model.ts";
import { assertScopeReaches, parseDatabaseName } from "./scope.ts";

export interface AuthorizeDeps {
  readonly directory: Directory;
  readonly live: LiveDatabases;
  /** The engine of the listener the client came to. */
  readonly engine: EngineName;
  /** For a database that is being replaced: how long a client waits for the other one. Without it, it is refused at once. */
  readonly patience?: { readonly clock: Clock; readonly waitMs: number; readonly signal: () => AbortSignal } | undefined;
}

/**
 * Decides what a proven credential may reach here, and takes a place under `max_connections`.
 * @throws {GatewayError} no_such_database, tenant_suspended, tenant_in_trash, not_ready, scope_denied, wrong_engine, max_connections, store_unavailable; revoked.
 */
export async function authorize(identity: Identity, deps: AuthorizeDeps): Promise<Grant> {
  const target = await reachTarget(identity, deps);
  const database = assertEngine(target, deps.engine);
  const entered = deps.live.enter(identity.projectId, identity.databaseName, target);
  if (!(entered instanceof Promise)) return makeGrant(identity, { ...target, database }, entered, deps.live);
  const live = await entered;
  try {
    // While the place was asked for, what was looked at before may have changed.
    const now = await reachTarget(identity, deps);
    return makeGrant(identity, { ...now, database: assertEngine(now, deps.engine) }, live, deps.live);
  } catch (error) {
    deps.live.leave(live);
    throw error;
  }
}

function makeGrant(identity: Identity, target: Grant["target"], live: LiveDatabase, all: LiveDatabases): Grant {
  let released = false;
  return {
    identity,
    target,
    live,
    release() {
      if (released) return;
      released = true;
      all.leave(live);
    },
  };
}

/** Judges a certificate that a client showed (DER) against those a project trusts (PEM). */
export type JudgeCertificate = (trustedPem: string, shown: Uint8Array, wallMs: number) => Promise<boolean>;

export interface CertificateDeps {
  readonly directory: Directory;
  readonly wallMs: number;
  /** Without it, no certificate is trusted. */
  readonly isTrusted?: JudgeCertificate | undefined;
}

/**
 * What a project demands beside the password, on the listeners of all engines. Told only to whoever has proven a password: it is nobody else's
 * business. `remedy` names the options of this engine's clients.
 * @throws {GatewayError} client_certificate_required, store_unavailable.
 */
export async function assertClientCertificate(
  projectId: string,
  shown: Uint8Array | undefined,
  remedy: string,
  deps: CertificateDeps,
): Promise<void> {
  const trusted = (await deps.directory.findProjectKeys(projectId))?.clientCertificates;
  if (trusted === undefined) return;
  if (shown && (await deps.isTrusted?.(trusted, shown, deps.wallMs))) return;
  const problem = shown ? "does not trust the certificate this client shows" : `requires a client certificate: connect over TLS with ${remedy}`;
  throw new GatewayError("client_certificate_required", `project "${projectId}" ${problem}`);
}

/** Looked at again every now and then, should word of the change be late. */
const lookAgainMs = 500;

async function reachTarget(identity: Identity, deps: AuthorizeDeps): Promise<RouteTarget> {
  const { patience } = deps;
  const untilMs = patience ? patience.clock.nowMs() + patience.waitMs : 0;
  for (;;) {
    const target = await assertNotRefused(identity, deps.directory, deps.live.wallMs);
    if (!target.isHeld) return target;
    const leftMs = patience ? untilMs - patience.clock.nowMs() : 0;
    if (!patience || leftMs <= 0) {
      throw new GatewayError("not_ready", `database "${identity.databaseName}" is being restored`, { hint: "Try again shortly." });
    }
    await deps.directory.nextChange(identity.projectId, Math.min(leftMs, lookAgainMs), patience.signal());
  }
}

/**
 * State and scope, for the listeners of all engines.
 * @throws {GatewayError} revoked, no_such_database, tenant_suspended, tenant_in_trash, not_ready, scope_denied, store_unavailable.
 */
export async function assertNotRefused(identity: Identity, directory: Directory, wallMs: number): Promise<RouteTarget> {
  const name = parseDatabaseName(identity.databaseName);
  const { scope } = identity.credential;
  if (!name) throw noSuchDatabase(identity.databaseName);
  // A credential that cannot reach the name is told so whether or not it exists: existence is not its business.
  if (scope.type !== "project") assertScopeReaches(scope, name);
  const { target, candidates, others } = await directory.findRoute(identity.projectId, identity.databaseName);
  // The exchange may have taken as long as the login timeout: what was revoked meanwhile must not slip in.
  if (!isStillUsable(identity.credential.id, [...candidates, ...others], wallMs)) throw credentialGone();
  if (!target) throw noSuchDatabase(identity.databaseName);
  assertState(target, identity.databaseName);
  assertScopeReaches(scope, name);
  return target;
}

/** What a client of a listener that does not proxy is told: another engine's door, or the server itself. */
export function redirectFor(target: RouteTarget, engine: EngineName): GatewayError {
  const { workspace, redirectTo } = target;
  if (target.engine !== engine) return wrongEngine(target, engine);
  const direct = redirectTo ? ` Connect to it directly at ${redirectTo}.` : "";
  return new GatewayError("not_proxied", `blueprint "${workspace}" is ${engine}; this gateway does not proxy ${engine} yet.${direct}`);
}

function wrongEngine(target: RouteTarget, engine: EngineName): GatewayError {
  return new GatewayError(
    "wrong_engine",
    `blueprint "${target.workspace}" is ${target.engine}, not ${engine}. Connect via the ${proxyNames[target.engine]} proxy instead.`,
  );
}

function isStillUsable(id: string, credentials: readonly Credential[], wallMs: number): boolean {
  return credentials.some((credential) => credential.id === id && isUsable(credential, wallMs));
}

function noSuchDatabase(databaseName: string): GatewayError {
  const shown = databaseName.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(0, 63);
  return new GatewayError("no_such_database", `database "${shown}" does not exist`, {
    hint: "Database names are {workspace}_workspace and {blueprint}__{tenant}.",
  });
}

function assertState(target: RouteTarget, databaseName: string): void {
  const { tenant } = target;
  if (tenant?.state === "suspended") {
    throw new GatewayError("tenant_suspended", `tenant "${tenant.id}" is suspended`, { hint: `Resume it with: tdb tenants resume ${tenant.id}` });
  }
  if (tenant?.state === "trash") {
    throw new GatewayError("tenant_in_trash", `tenant "${tenant.id}" is in trash`, { hint: `Restore it with: tdb tenants restore ${tenant.id}` });
  }
  if (tenant?.state === "deleting" || target.workspaceState === "deleting") throw noSuchDatabase(databaseName);
  if (tenant?.state === "creating" || target.workspaceState === "creating") {
    throw new GatewayError("not_ready", `database "${databaseName}" is still being created`);
  }
}

function assertEngine(target: RouteTarget, engine: EngineName): PhysicalDatabase {
  if (target.engine !== engine) throw wrongEngine(target, engine);
  if (!target.database) throw new GatewayError("not_ready", `database of blueprint "${target.workspace}" is still being created`);
  return target.database;
}
