/** Logs in to a database server as one native role and keeps what a later client must be told: ParameterStatus and the cancel key. */
import type { BytePipe, PipeSink, TlsClientOptions } from "../../core/byte-pipe.ts";
import { GatewayError } from "../../core/errors.ts";
import { nativeRoleName } from "../../core/model.ts";
import { PipeClosedError, PipeReader } from "../../core/pipe-reader.ts";
import type { BackendDialer, BackendRequest, PooledBackend } from "../../core/pool.ts";
import { ScramClient, scramSha256 } from "../../core/scram.ts";
import type { Secrets } from "../../core/secrets.ts";
import {
  decodeAuthentication,
  decodeBackendKeyData,
  decodeErrorFields,
  decodeMechanisms,
  decodeParameterStatus,
  type ErrorFields,
} from "./backend.ts";
import { concatBytes, readUint32, utf8 } from "./bytes.ts";
import {
  encodeCancelRequest,
  encodeQuery,
  encodeSaslInitial,
  encodeSaslResponse,
  encodeSslRequest,
  encodeStartup,
  encodeTerminate,
} from "./frontend.ts";
import { backend as message, transactionStatus } from "./message-types.ts";
import { ownSettingsQueries } from "./own-settings.ts";

/** Where a cluster listens, as configured. */
export interface ClusterAddress {
  readonly connect: { readonly host: string; readonly port: number } | { readonly path: string };
  readonly tls: TlsClientOptions | undefined;
}

export interface DialDeps {
  readonly secrets: Secrets;
  /** @throws Error for an unknown cluster. */
  addressOf(clusterId: string): ClusterAddress;
  connect(to: ClusterAddress["connect"], signal: AbortSignal): Promise<BytePipe>;
  /** Sets the derived password again: a role may always change its own (ALTER ROLE … PASSWORD), and must not lock others out by it. */
  reassertPassword(request: BackendRequest): Promise<void>;
}

/** A login message is never longer: error texts and parameter values. */
const maxLoginMessageBytes = 64 * 1024;

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

/** One session on a database server. While leased, its pipe's sink is the relay. */
export class PostgresBackend implements PooledBackend {
  readonly pipe: BytePipe;
  /** As last reported by the server. */
  readonly parameters: Map<string, string>;
  readonly key: { readonly pid: number; readonly secret: Uint8Array };
  onDeath: (() => void) | undefined;
  readonly #sendCancel: () => Promise<void>;
  #cancels: Set<Promise<void>> = new Set();
  #dead = false;

  constructor(
    pipe: BytePipe,
    parameters: Map<string, string>,
    key: PostgresBackend["key"],
    sendCancel: (key: PostgresBackend["key"]) => Promise<void>,
  ) {
    this.pipe = pipe;
    this.parameters = parameters;
    this.key = key;
    this.#sendCancel = () => sendCancel(key);
    this.#watchIdle();
  }

  get isAlive(): boolean {
    return !this.#dead && !this.pipe.isClosed;
  }

  /** Asks the server to cancel what runs here. Resolves when the server has taken note, so that nothing later can be hit. */
  cancel(): Promise<void> {
    const sending = this.#sendCancel();
    this.#cancels.add(sending);
    return sending.finally(() => this.#cancels.delete(sending));
  }

  async cancelsSettled(): Promise<void> {
    await Promise.allSettled(this.#cancels);
  }

  async reset(): Promise<boolean> {
    if (!this.isAlive) return false;
    const abort = new AbortController();
    const reader = new PipeReader(this.pipe, maxLoginMessageBytes, abort.signal);
    try {
      // ROLLBACK outside a transaction is a warning; DISCARD ALL inside one is an error.
      this.pipe.write(concatBytes(encodeQuery("ROLLBACK"), encodeQuery("DISCARD ALL")));
      const clean = (await this.#readReset(reader, "ROLLBACK")) && (await this.#readReset(reader, "DISCARD ALL"));
      return clean && reader.detach().length === 0 && this.isAlive;
    } catch {
      return false; // a backend that cannot be proven clean is closed, whatever the reason
    } finally {
      if (this.pipe.sink === reader) reader.detach();
      this.#watchIdle();
    }
  }

  /** Whether the role's own settings had no part in this session. What cannot be found out counts as a no. */
  async isUnaltered(signal: AbortSignal): Promise<boolean> {
    const reader = new PipeReader(this.pipe, maxLoginMessageBytes, signal);
    try {
      this.pipe.write(concatBytes(...ownSettingsQueries.map(encodeQuery)));
      let unaltered = true;
      for (let answers = 0; answers < ownSettingsQueries.length; ) {
        const { type, body } = await readMessage(reader);
        if (type === message.ReadyForQuery) answers++;
        else if (type === message.DataRow || type === message.ErrorResponse) unaltered = false;
        else if (type === message.ParameterStatus) this.parameters.set(...decodeParameterStatus(body));
      }
      return unaltered && reader.detach().length === 0 && this.isAlive;
    } catch {
      return false;
    } finally {
      if (this.pipe.sink === reader) reader.detach();
      this.#watchIdle();
    }
  }

  close(): void {
    this.#dead = true;
    this.onDeath = undefined;
    if (!this.pipe.isClosed) this.pipe.end(encodeTerminate());
  }

  /** Reads one simple query's answer. Notices, notifications of a past LISTEN and parameter reports are taken in; anything else is no proof. */
  async #readReset(reader: PipeReader, expectedTag: string): Promise<boolean> {
    let tagSeen = false;
    for (;;) {
      const { type, body } = await readMessage(reader);
      if (type === message.ReadyForQuery) return tagSeen && body[0] === transactionStatus.idle;
      if (type === message.CommandComplete) tagSeen = utf8(body) === `${expectedTag}\0`;
      else if (type === message.ParameterStatus) this.parameters.set(...decodeParameterStatus(body));
      else if (type !== message.NoticeResponse && type !== message.NotificationResponse) return false;
    }
  }

  /** While nobody leases it: a server's goodbye or anything unasked for but a parameter report means the end of it. */
  #watchIdle(): void {
    const sink: PipeSink = {
      data: (chunk) => {
        if (!this.#takeIdleReports(chunk)) this.#die();
      },
      drain: () => undefined,
      closed: () => this.#die(),
    };
    this.pipe.sink = sink;
    if (this.pipe.isClosed) this.#die();
    else this.pipe.resume();
  }

  #takeIdleReports(chunk: Uint8Array): boolean {
    let at = 0;
    while (at < chunk.length) {
      if (chunk.length - at < 5) return false;
      const end = at + 1 + readUint32(chunk, at + 1);
      if (end > chunk.length || end < at + 5) return false;
      if (chunk[at] === message.ParameterStatus) {
        try {
          this.parameters.set(...decodeParameterStatus(chunk.subarray(at + 5, end)));
        } catch {
          return false; // malformed
        }
      } else if (chunk[at] !== message.NoticeResponse) return false;
      at = end;
    }
    return true;
  }

  #die(): void {
    if (this.#dead) return;
    this.#dead = true;
    this.pipe.destroy();
    this.onDeath?.();
  }
}

export interface BackendFrame {
  readonly type: number;
  readonly body: Uint8Array;
  /** Header and body. */
  readonly frame: Uint8Array;
}

/** Reads one whole message, of the login or reset phase unless told otherwise. @throws {GatewayError} protocol_violation when it is longer than such messages are. */
export async function readMessage(reader: PipeReader, maxBytes = maxLoginMessageBytes): Promise<BackendFrame> {
  const header = (await reader.read(5)).slice();
  const length = readUint32(header, 1) - 4;
  if (length < 0 || length > maxBytes) throw new GatewayError("protocol_violation", "the database server sent a malformed message");
  const body = await reader.read(length);
  return { type: header[0] as number, body, frame: concatBytes(header, body) };
}

export function createPostgresDialer(deps: DialDeps): BackendDialer<PostgresBackend> {
  return {
    async dial(request, signal) {
      try {
        return await logIn(deps, request, signal);
      } catch (error) {
        if (!(error instanceof BackendRefusedError && error.sqlstate === "28P01")) throw translate(error, request, signal);
      }
      try {
        await deps.reassertPassword(request);
        return await logIn(deps, request, signal);
      } catch (error) {
        throw translate(error, request, signal);
      }
    },
  };
}

async function logIn(deps: DialDeps, request: BackendRequest, signal: AbortSignal): Promise<PostgresBackend> {
  const address = deps.addressOf(request.database.clusterId);
  const pipe = await openPipe(deps, address, signal);
  const reader = new PipeReader(pipe, maxLoginMessageBytes + 5, signal);
  try {
    const user = nativeRoleName(request.database.name, request.role);
    pipe.write(encodeStartup([["user", user], ["database", request.database.name], ...request.parameters]));
    await authenticateTo(reader, deps, request);
    const session = await readSession(reader);
    if (reader.detach().length > 0) throw new GatewayError("protocol_violation", "the database server sent bytes nobody asked for");
    return new PostgresBackend(pipe, session.parameters, session.key, (key) => sendCancel(deps, address, key));
  } catch (error) {
    pipe.destroy();
    throw error;
  }
}

async function openPipe(deps: DialDeps, address: ClusterAddress, signal: AbortSignal): Promise<BytePipe> {
  const pipe = await deps.connect(address.connect, signal);
  if (!address.tls) return pipe;
  const reader = new PipeReader(pipe, 16, signal);
  pipe.write(encodeSslRequest());
  const answer = await reader.read(1);
  // More than the one byte would be plaintext pretending to come from inside TLS.
  if (answer[0] !== 0x53 || reader.detach().length > 0) {
    pipe.destroy();
    throw new GatewayError("protocol_violation", "the database server does not accept TLS");
  }
  return pipe.startTlsClient(address.tls, signal);
}

/** SCRAM only: a server that asks for the password in any weaker way does not get it. Trust is taken as the server's own decision. */
async function authenticateTo(reader: PipeReader, deps: DialDeps, request: BackendRequest): Promise<void> {
  let client: ScramClient | undefined;
  for (;;) {
    const { type, body, frame } = await readMessage(reader);
    if (type === message.ErrorResponse) throw new BackendRefusedError(decodeErrorFields(body), frame);
    if (type === message.NegotiateProtocolVersion || type === message.NoticeResponse) continue;
    if (type !== message.Authentication) throw new GatewayError("protocol_violation", "the database server did not start authentication");
    const { code, data } = decodeAuthentication(body);
    if (code === 0) return;
    if (code === 10 && decodeMechanisms(data).includes(scramSha256)) {
      client = new ScramClient(deps.secrets.crypto, deps.secrets.nativeRolePassword(request.database, request.role));
      reader.pipe.write(encodeSaslInitial(scramSha256, client.clientFirst));
    } else if (code === 11 && client) reader.pipe.write(encodeSaslResponse(await client.answer(utf8(data))));
    else if (code === 12 && client) client.verify(utf8(data));
    else throw new GatewayError("protocol_violation", `the database server asks for authentication method ${code}; only SCRAM-SHA-256 is used`);
  }
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
    if (state.startsWith("22") || state === "42704" || state === "42501" || state === "55P02" || state === "42601") return error;
    if (state === "53300")
      return new GatewayError("no_backend_slot", `the database server has no free connection for "${request.displayName}"`, { cause: error });
  } else if (error instanceof GatewayError && error.kind !== "protocol_violation") return error;
  return new GatewayError("backend_unreachable", `database server for "${request.displayName}" is not reachable`, { cause: error });
}
