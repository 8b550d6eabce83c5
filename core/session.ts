/**
 * The data path: one client connection from its first byte to its close.
 * accept → IP ban and limits → TLS → startup → authenticate → authorize → lease a backend → relay with policies → release.
 */
import type { Bans } from "./ban.ts";
import type { BytePipe } from "./byte-pipe.ts";
import type { CancelKey, Cancels } from "./cancel.ts";
import type { Clock } from "./clock.ts";
import type { EngineLease, FullEngine, LoginRequest } from "./engine.ts";
import { GatewayError } from "./errors.ts";
import type { Grant } from "./identity.ts";
import type { Gate } from "./limit.ts";
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

/** Runs one connection to its end. Never rejects: the one catch encodes, logs and closes. */
export async function runSession<Login extends LoginRequest, Lease extends EngineLease>(
  socket: BytePipe,
  engine: FullEngine<Login, Lease>,
  deps: SessionDeps,
): Promise<void> {
  const admission = deps.gate.admit(socket.peer.address);
  const session = deps.sessions.open(socket.peer.address, admission);
  const { signal } = session;
  let client = admission.pipe(socket);
  let login: Login | undefined;
  let grant: Grant | undefined;
  let lease: Lease | undefined;
  let cancelKey: CancelKey | undefined;
  let reusable = false;
  const trace = deps.tracer?.begin(`${engine.name} login`, { "tenantry.session_id": session.id, "client.address": socket.peer.address });
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
      return;
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
    grant = await engine.authorize(login, identity, signal);
    session.authorized(grant);
    const askedAtMs = deps.clock.nowMs();
    step = trace?.begin("lease");
    lease = await engine.lease(login, grant, signal, (asked) => session.asked(asked));
    deps.sessions.metrics.waits.observe((deps.clock.nowMs() - askedAtMs) / 1000);
    cancelKey = deps.cancels.register(session, engine.cancelKeyShape(login, lease));
    const relay = engine.relay(login, grant, lease, cancelKey, session.id);
    session.started(relay);
    deps.sessions.metrics.loginEnded(engine.name, "ok");
    deps.sessions.metrics.connects.observe((deps.clock.nowMs() - session.openedAtMs) / 1000);
    trace?.end();
    const end = await relay.ended;
    reusable = end.reusable;
    if (end.error) deps.log.write(end.error.refusal.log, "session ended", { ...session.logFields(), reason: end.error.message });
  } catch (error) {
    trace?.end(error instanceof GatewayError ? error.kind : error instanceof PipeClosedError ? "client_left" : "internal_error");
    // Counted before it is told, so that whoever has been told of it finds it counted.
    if (!admission.exempt && error instanceof GatewayError && error.kind === "auth_failed") await countFailure(admission.addressKey, deps);
    refuse({ client, engine, login }, error, session, deps);
  } finally {
    trace?.end();
    if (cancelKey) deps.cancels.unregister(cancelKey);
    lease?.release(reusable);
    session.close();
    grant?.release();
    admission.release();
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
