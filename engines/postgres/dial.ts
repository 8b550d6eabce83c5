/** Logs in to a database server as one native role and keeps what a later client must be told: ParameterStatus and the cancel key. */
import type { ServerState } from "../../core/breaker.ts";
import type { BytePipe, TlsClientOptions } from "../../core/byte-pipe.ts";
import { GatewayError } from "../../core/errors.ts";
import { nativeRoleName } from "../../core/model.ts";
import { PipeClosedError, PipeReader } from "../../core/pipe-reader.ts";
import type { BackendDialer, BackendRequest } from "../../core/pool.ts";
import { ScramClient, scramSha256 } from "../../core/scram.ts";
import type { Secrets } from "../../core/secrets.ts";
import { starting, unreachable } from "../../core/server-errors.ts";
import {
  decodeAuthentication,
  decodeBackendKeyData,
  decodeErrorFields,
  decodeMechanisms,
  decodeParameterStatus,
  type ErrorFields,
} from "./backend.ts";
import { maxLoginMessageBytes, PostgresBackend, readMessage } from "./backend-session.ts";
import { utf8 } from "./bytes.ts";
import { encodeCancelRequest, encodeQuery, encodeSaslInitial, encodeSaslResponse, encodeSslRequest, encodeStartup } from "./frontend.ts";
import { backend as message } from "./message-types.ts";
import { type PoolerMode, splitSettings } from "./pooler.ts";

/** Where a cluster listens, as configured. */
export interface ClusterAddress {
  readonly connect: { readonly host: string; readonly port: number } | { readonly path: string };
  readonly tls: TlsClientOptions | undefined;
  /** A pooler stands there, before the server; it may learn of a new role a moment late. */
  readonly pooler?: PoolerMode | undefined;
}

export interface DialDeps {
  readonly secrets: Secrets;
  /** @throws Error for an unknown cluster. */
  addressOf(clusterId: string): ClusterAddress | Promise<ClusterAddress>;
  connect(to: ClusterAddress["connect"], signal: AbortSignal): Promise<BytePipe>;
  /** Sets the derived password again: a role may always change its own (ALTER ROLE … PASSWORD), and must not lock others out by it. */
  reassertPassword(request: BackendRequest): Promise<void>;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** From the first byte of a login to its last. Default: as long as the client's own login may take. */
  readonly connectTimeoutMs?: () => number;
}

/** Nothing that speaks PostgreSQL is there, which says something of the server and not of this login alone. */
export class NoAnswerError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "NoAnswerError";
  }
}

/** What a failed login says of the server as a whole; undefined where it was let down by its role, database or settings. */
export function judgeServer(error: unknown): ServerState | undefined {
  if (!(error instanceof GatewayError)) return undefined;
  if (error.kind === "backend_starting") return "starting";
  return error.details.cause instanceof NoAnswerError ? "away" : undefined;
}

/** A pooler learns of a new role a second or so after it was made; one that refused is asked again. */
const poolerAttempts = 12;
const poolerPauseMs = 400;

/** The server refused the login in its own words, kept as bytes so that they can be passed on unchanged. */
export class BackendRefusedError extends Error {
  readonly fields: ErrorFields;
  readonly frame: Uint8Array;

  constructor(fields: ErrorFields, frame: Uint8Array) {
    super(fields.get("M") ?? "login refused");
    this.name = "BackendRefusedError";
    this.fields = fields;
    this.frame = frame;
  }

  get sqlstate(): string {
    return this.fields.get("C") ?? "XX000";
  }
}

export function createPostgresDialer(deps: DialDeps): BackendDialer<PostgresBackend> {
  return {
    async dial(request, signal) {
      try {
        const address = await deps.addressOf(request.database.clusterId);
        const attempts = address.pooler ? poolerAttempts : 2;
        for (let attempt = 1; ; attempt++) {
          try {
            return await logIn(deps, address, request, signal);
          } catch (error) {
            if (attempt === attempts || signal.aborted || !mayPass(error, address.pooler)) throw error;
          }
          if (attempt === 1) await deps.reassertPassword(request);
          else await deps.sleep(poolerPauseMs);
        }
      } catch (error) {
        throw translate(error, request, signal);
      }
    },
  };
}

/** Whether the login may be accepted once the password is set again, or the pooler knows the role. */
function mayPass(error: unknown, pooler: PoolerMode | undefined): boolean {
  if (!(error instanceof BackendRefusedError)) return false;
  if (error.sqlstate === "28P01") return true;
  // PgBouncer's one code for an unknown role, a server that ended its login, and much else.
  return pooler !== undefined && error.sqlstate === "08P01" && !isUnsupportedSetting(error);
}

/** PgBouncer's words for a start-up setting that it cannot keep right. */
function isUnsupportedSetting(error: BackendRefusedError): boolean {
  return error.message.startsWith("unsupported startup parameter");
}

/** One attempt, within its time. */
async function logIn(deps: DialDeps, address: ClusterAddress, request: BackendRequest, signal: AbortSignal): Promise<PostgresBackend> {
  const timeoutMs = deps.connectTimeoutMs?.() ?? 0;
  const attempt: Attempt = { hasAnswer: false };
  if (timeoutMs === 0) return await speak(deps, address, request, signal, attempt);
  const [over, late] = [new AbortController(), new AbortController()];
  const timing = deps.sleep(timeoutMs, over.signal).then(() => {
    const message = `the database server took longer than server_connect_timeout_ms (${timeoutMs})`;
    late.abort(attempt.hasAnswer ? new Error(message) : new NoAnswerError(message));
  });
  timing.catch(() => undefined); // it was in time
  try {
    return await speak(deps, address, request, AbortSignal.any([signal, late.signal]), attempt);
  } finally {
    over.abort();
  }
}

/** How far it came. */
interface Attempt {
  hasAnswer: boolean;
}

async function speak(
  deps: DialDeps,
  address: ClusterAddress,
  request: BackendRequest,
  signal: AbortSignal,
  attempt: Attempt,
): Promise<PostgresBackend> {
  const { packet, afterwards } = splitSettings(request.parameters, address.pooler);
  const pipe = await openPipe(deps, address, signal, attempt);
  const reader = new PipeReader(pipe, maxLoginMessageBytes + 5, signal);
  try {
    const user = nativeRoleName(request.database.name, request.role);
    pipe.write(encodeStartup([["user", user], ["database", request.database.name], ...packet]));
    await authenticateTo(reader, deps, request, attempt);
    const session = await readSession(reader);
    if (afterwards !== undefined) await applySettings(reader, afterwards, session.parameters);
    if (reader.detach().length > 0) throw new GatewayError("protocol_violation", "the database server sent bytes nobody asked for");
    return new PostgresBackend(pipe, session.parameters, session.key, (key) => sendCancel(deps, address, key), afterwards);
  } catch (error) {
    pipe.destroy();
    throw error;
  }
}

async function openPipe(deps: DialDeps, address: ClusterAddress, signal: AbortSignal, attempt?: Attempt): Promise<BytePipe> {
  const pipe = await deps.connect(address.connect, signal).catch((error) => {
    if (signal.aborted) throw signal.reason;
    throw new NoAnswerError(error instanceof Error ? error.message : String(error), error);
  });
  if (!address.tls) return pipe;
  const reader = new PipeReader(pipe, 16, signal);
  pipe.write(encodeSslRequest());
  try {
    const answer = await reader.read(1).catch(silentServer);
    if (attempt) attempt.hasAnswer = true;
    // More than the one byte would be plaintext pretending to come from inside TLS.
    if (answer[0] !== 0x53 || reader.detach().length > 0) throw new GatewayError("protocol_violation", "the database server does not accept TLS");
  } catch (error) {
    pipe.destroy();
    throw error;
  }
  return pipe.startTlsClient(address.tls, signal);
}

/**
 * SCRAM only: a server that asks for the password in any weaker way does not get it, and one that asks has to prove that it knows it. One that asks
 * for none is taken at its word: that is its operator's decision.
 */
async function authenticateTo(reader: PipeReader, deps: DialDeps, request: BackendRequest, attempt: Attempt): Promise<void> {
  let client: ScramClient | undefined;
  let isProven = false;
  for (;;) {
    const { type, body, frame } = attempt.hasAnswer ? await readMessage(reader) : await readMessage(reader).catch(silentServer);
    attempt.hasAnswer = true;
    if (type === message.ErrorResponse) throw new BackendRefusedError(decodeErrorFields(body), frame);
    if (type === message.NegotiateProtocolVersion || type === message.NoticeResponse) continue;
    if (type !== message.Authentication) throw new GatewayError("protocol_violation", "the database server did not start authentication");
    const { code, data } = decodeAuthentication(body);
    if (code === 0 && client && !isProven)
      throw new GatewayError("protocol_violation", "the database server did not prove that it knows the password");
    if (code === 0) return;
    if (code === 10 && decodeMechanisms(data).includes(scramSha256)) {
      client = new ScramClient(deps.secrets.crypto, deps.secrets.nativeRolePassword(request.database, request.role));
      reader.pipe.write(encodeSaslInitial(scramSha256, client.clientFirst));
    } else if (code === 11 && client) reader.pipe.write(encodeSaslResponse(await client.answer(utf8(data))));
    else if (code === 12 && client) {
      client.verify(utf8(data));
      isProven = true;
    } else throw new GatewayError("protocol_violation", `the database server asks for authentication method ${code}; only SCRAM-SHA-256 is used`);
  }
}

/** One that takes the connection and closes it unanswered is as good as none: so does a balancer that has no server behind it. */
function silentServer(error: unknown): never {
  throw error instanceof PipeClosedError ? new NoAnswerError("the database server closed the connection without a word", error) : error;
}

async function readSession(reader: PipeReader): Promise<{ parameters: Map<string, string>; key: { pid: number; secret: Uint8Array } }> {
  const parameters = new Map<string, string>();
  let key: { pid: number; secret: Uint8Array } = { pid: 0, secret: new Uint8Array(4) };
  for (;;) {
    const { type, body, frame } = await readMessage(reader);
    if (type === message.ErrorResponse) throw new BackendRefusedError(decodeErrorFields(body), frame);
    if (type === message.ReadyForQuery) return { parameters, key };
    if (type === message.ParameterStatus) parameters.set(...decodeParameterStatus(body));
    else if (type === message.BackendKeyData) key = decodeBackendKeyData(body);
    else if (type !== message.NoticeResponse) throw new GatewayError("protocol_violation", "the database server sent an unexpected message at login");
  }
}

/** @throws {BackendRefusedError} for a setting the server refuses, as it would have in the start-up packet. */
async function applySettings(reader: PipeReader, statement: string, parameters: Map<string, string>): Promise<void> {
  reader.pipe.write(encodeQuery(statement));
  for (;;) {
    const { type, body, frame } = await readMessage(reader);
    if (type === message.ReadyForQuery) return;
    if (type === message.ErrorResponse) throw new BackendRefusedError(decodeErrorFields(body), frame);
    if (type === message.ParameterStatus) parameters.set(...decodeParameterStatus(body));
  }
}

/** A connection of its own, as the protocol wants; done when the server closes it, which it does after signalling the backend. */
async function sendCancel(deps: DialDeps, address: ClusterAddress, key: { pid: number; secret: Uint8Array }): Promise<void> {
  const signal = AbortSignal.timeout(5000);
  const pipe = await openPipe(deps, address, signal);
  const reader = new PipeReader(pipe, 16, signal);
  pipe.write(encodeCancelRequest(key.pid, key.secret));
  try {
    await reader.read(1);
  } catch (error) {
    if (!(error instanceof PipeClosedError)) throw error;
  } finally {
    pipe.destroy();
  }
}

/** What the client is told of a failed login: its own start-up settings' errors unchanged, everything else without names of hosts or roles. */
function translate(error: unknown, request: BackendRequest, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason; // the session ended first, and knows why
  if (error instanceof BackendRefusedError) {
    const state = error.sqlstate;
    if (isUnsupportedSetting(error) || state.startsWith("22") || state === "42704" || state === "42501" || state === "55P02" || state === "42601")
      return error;
    if (state === "53300")
      return new GatewayError("no_backend_slot", `the database server has no free connection for "${request.displayName}"`, { cause: error });
    if (state === "57P03") return starting(request, error);
  } else if (error instanceof GatewayError && error.kind !== "protocol_violation") return error;
  return unreachable(request, error);
}
