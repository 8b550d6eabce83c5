/**
 * The data path: one client connection from its first byte to its close.
 * accept → IP ban and limits → TLS → startup → authenticate → authorize → lease a backend → relay with policies → release.
 */
import type { Bans } from "./ban.ts";
import type { BytePipe } from "./byte-pipe.ts";
import type { CancelKey, Cancels } from "./cancel.ts";
import type { Clock } from "./clock.ts";
import type { EngineLease, FullEngine, LoginRequest, RunningRelay } from "./engine.ts";
import { GatewayError } from "./errors.ts";
import type { Grant } from "./identity.ts";
import type { Admission, Gate } from "./limit.ts";
import type { Log } from "./log.ts";
import { PipeClosedError } from "./pipe-reader.ts";
import type { Session, SessionRegistry } from "./session-registry.ts";
import type { Tracer } from "./tracing.ts";

export interface SessionDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly gate: Gate;
  readonly bans: Bans;
  readonly sessions: SessionRegistry;
  readonly cancels: Cancels;
  readonly tracer?: Tracer | undefined;
}

/** Runs one connection to its end. Never rejects: the one catch, around logging in, encodes, logs and closes; a relay only ends. */
export async function runSession<Login extends LoginRequest, Lease extends EngineLease>(
  socket: BytePipe,
  engine: FullEngine<Login, Lease>,
  deps: SessionDeps,
): Promise<void> {
  const admission = deps.gate.admit(socket.peer.address);
  const session = deps.sessions.open(socket.peer.address, admission);
  const held: Held = { admission, session, grant: undefined, lease: undefined, cancelKey: undefined };
  let reusable = false;
  try {
    // A function of its own, so that what a login needs is not kept for as long as the session lasts.
    const relay = await logIn(admission.pipe(socket), engine, held, deps);
    if (!relay) return;
    const end = await relay.ended;
    reusable = end.reusable;
    if (end.error) deps.log.write(end.error.refusal.log, "session ended", { ...held.session.logFields(), reason: end.error.message });
  } finally {
    letGo(held, reusable, deps);
  }
}

/** What a session has taken and gives back at its end. */
interface Held {
  readonly admission: Admission;
  readonly session: Session;
  grant: Grant | undefined;
  lease: EngineLease | undefined;
  cancelKey: CancelKey | undefined;
}

function letGo({ admission, session, grant, lease, cancelKey }: Held, reusable: boolean, { cancels }: SessionDeps): void {
  if (cancelKey) cancels.unregister(cancelKey);
  lease?.release(reusable);
  session.close();
  grant?.release();
  admission.release();
}

/** From the first byte to the first ReadyForQuery. @returns undefined when there is no session: the client has been told, and its connection is closed. */
async function logIn<Login extends LoginRequest, Lease extends EngineLease>(
  socket: BytePipe,
  engine: FullEngine<Login, Lease>,
  held: Held,
  deps: SessionDeps,
): Promise<RunningRelay | undefined> {
  const { admission, session } = held;
  const { signal } = session;
  let client = socket;
  let login: Login | undefined;
  const trace = deps.tracer?.begin(`${engine.name} login`, { "tenantry.session_id": session.id, "client.address": session.address });
  try {
    let step = trace?.begin("open");
    const opened = await engine.open(client, signal, (pipe) => {
      client = pipe;
    });
    if (opened.type === "cancel") {
      const isAllowed = (await deps.cancels.request(opened.pid, opened.secret)) || (await deps.gate.allowWrongCancel(admission));
      // A guess that comes over TLS has cost a handshake: beyond the allowance it counts as any other connection.
      if (isAllowed || !client.tls) admission.refund();
      if (isAllowed) client.end();
      else client.destroy();
      return undefined;
    }
    login = opened;
    client = login.client;
    session.describe(login.user, login.database);
    step?.end();
    trace?.set({ "db.namespace": login.database, "tenantry.project_id": login.user });
    const refusal = admission.refusal ?? (admission.shared && (await admission.shared));
    if (refusal) throw refusal;
    const beganAtMs = deps.clock.nowMs();
    step = trace?.begin("authenticate");
    const identity = await engine.authenticate(login, signal);
    deps.sessions.metrics.authentications.observe((deps.clock.nowMs() - beganAtMs) / 1000);
    deps.bans.recordSuccess(admission.addressKey);
    session.identify(engine.name, identity);
    step?.end();
    const grant = await engine.authorize(login, identity, signal);
    held.grant = grant;
    session.authorized(grant);
    const askedAtMs = deps.clock.nowMs();
    step = trace?.begin("lease");
    const lease = await engine.lease(login, grant, signal, (asked) => session.asked(asked));
    held.lease = lease;
    deps.sessions.metrics.waits.observe((deps.clock.nowMs() - askedAtMs) / 1000);
    held.cancelKey = deps.cancels.register(session, engine.cancelKeyShape(login, lease));
    const relay = engine.relay(login, grant, lease, held.cancelKey, session.id);
    session.started(relay);
    deps.sessions.metrics.loginEnded(engine.name, "ok");
    deps.sessions.metrics.connects.observe((deps.clock.nowMs() - session.openedAtMs) / 1000);
    return relay;
  } catch (error) {
    trace?.end(error instanceof GatewayError ? error.kind : error instanceof PipeClosedError ? "client_left" : "internal_error");
    // Counted before it is told, so that whoever has been told of it finds it counted.
    if (!admission.exempt && error instanceof GatewayError && error.kind === "auth_failed") await countFailure(admission.addressKey, deps);
    refuse({ client, engine, login }, error, session, deps);
    return undefined;
  } finally {
    trace?.end();
  }
}

async function countFailure(addressKey: string, deps: SessionDeps): Promise<void> {
  if (!(await deps.bans.recordFailure(addressKey))) return;
  deps.log.write("warn", "address banned", { address: addressKey, seconds: deps.bans.secondsLeft(addressKey) });
}

/** Encodes, logs and closes. What is no GatewayError reaches the client as an id only, and the log in full. */
function refuse<Login extends LoginRequest, Lease extends EngineLease>(
  { client, engine, login }: { client: BytePipe; engine: FullEngine<Login, Lease>; login: Login | undefined },
  error: unknown,
  session: Session,
  deps: SessionDeps,
): void {
  if (error instanceof PipeClosedError || client.isClosed) {
    deps.log.write("debug", "client left before login", session.logFields());
    deps.sessions.metrics.loginEnded(engine.name, "left");
    client.destroy();
    return;
  }
  const known = engine.encodeRefusal(error, login);
  deps.sessions.metrics.loginFailed(engine.name, known ? error : internalError(session));
  if (known) {
    const level = error instanceof GatewayError ? error.refusal.log : "info";
    const cause = error instanceof GatewayError && error.details.cause !== undefined ? String(error.details.cause) : undefined;
    deps.log.write(level, "login refused", { ...session.logFields(), reason: error instanceof Error ? error.message : String(error), cause });
    client.end(known);
    return;
  }
  deps.log.write("error", "internal error", {
    ...session.logFields(),
    error: error instanceof Error ? (error.stack ?? error.message) : String(error),
  });
  client.end(engine.encodeRefusal(internalError(session), login));
}

function internalError(session: Session): GatewayError {
  return new GatewayError("internal_error", `internal error (id ${session.id})`);
}
