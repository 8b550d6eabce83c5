/** One session on a database server, between login and its end: lent, reset, watched while idle. */
import type { BytePipe, PipeSink } from "../../core/byte-pipe.ts";
import { GatewayError } from "../../core/errors.ts";
import { PipeReader } from "../../core/pipe-reader.ts";
import type { PooledBackend } from "../../core/pool.ts";
import { decodeParameterStatus } from "./backend.ts";
import { concatBytes, readable, readUint32, utf8 } from "./bytes.ts";
import { encodeQuery, encodeSync, encodeTerminate } from "./frontend.ts";
import { backend as message, transactionStatus } from "./message-types.ts";
import { ownSettingsQuestion } from "./own-settings.ts";
import type { RelayBackend } from "./relay-terms.ts";

/** A login message is never longer: error texts and parameter values. */
export const maxLoginMessageBytes = 64 * 1024;

const noPins: readonly string[] = [];

/** One session on a database server. While leased, its pipe's sink is the relay. */
export class PostgresBackend implements PooledBackend, RelayBackend {
  readonly pins: readonly string[] = noPins;
  readonly pipe: BytePipe;
  /** As last reported by the server. */
  readonly parameters: Map<string, string>;
  /** As reported at login. */
  readonly initialParameters: ReadonlyMap<string, string>;
  readonly key: { readonly pid: number; readonly secret: Uint8Array };
  onDeath: (() => void) | undefined;
  readonly #sendCancel: () => Promise<void>;
  /** What makes a session as fresh as after login. */
  readonly #resets: readonly string[];
  readonly #resetBytes: Uint8Array;
  #cancels: Set<Promise<void>> = new Set();
  #dead = false;

  constructor(
    pipe: BytePipe,
    parameters: Map<string, string>,
    key: PostgresBackend["key"],
    sendCancel: (key: PostgresBackend["key"]) => Promise<void>,
    afterwards?: string,
  ) {
    this.pipe = pipe;
    this.parameters = parameters;
    this.initialParameters = new Map(parameters);
    this.key = key;
    this.#sendCancel = () => sendCancel(key);
    // ROLLBACK outside a transaction is a warning; DISCARD ALL inside one is an error.
    this.#resets = ["ROLLBACK", "DISCARD ALL", ...(afterwards === undefined ? [] : [afterwards])];
    this.#resetBytes = concatBytes(...this.#resets.map(encodeQuery));
    this.#watchIdle();
  }

  get isAlive(): boolean {
    return !this.#dead && !this.pipe.isClosed;
  }

  /** A ParameterStatus that the relay passes on. */
  noteParameter(body: Uint8Array | undefined): void {
    const pair = body && readable(body, decodeParameterStatus);
    if (pair) this.parameters.set(...pair);
  }

  /** Asks the server to cancel what runs here. Resolves when the server has taken note, so that nothing later can be hit. */
  cancel(): Promise<void> {
    const sending = this.#sendCancel();
    this.#cancels.add(sending);
    return sending.finally(() => this.#cancels.delete(sending));
  }

  get isCancelling(): boolean {
    return this.#cancels.size > 0;
  }

  async cancelsSettled(): Promise<void> {
    await Promise.allSettled(this.#cancels);
  }

  async reset(): Promise<boolean> {
    if (!this.isAlive) return false;
    const reader = new PipeReader(this.pipe, maxLoginMessageBytes);
    try {
      this.pipe.write(this.#resetBytes);
      for (const statement of this.#resets) {
        if (!(await this.#readReset(reader, statement.startsWith("DO ") ? "DO" : statement))) return false;
      }
      return reader.detach().length === 0 && this.isAlive;
    } catch {
      return false; // a backend that cannot be proven clean is closed, whatever the reason
    } finally {
      if (this.pipe.sink === reader) reader.detach();
      this.#watchIdle();
    }
  }

  /** Sync, outside a transaction: one message each way, and nothing of the session is touched. */
  async answers(): Promise<boolean> {
    if (!this.isAlive) return false;
    const reader = new PipeReader(this.pipe, maxLoginMessageBytes);
    try {
      this.pipe.write(encodeSync());
      for (;;) {
        const { type, body } = await readMessage(reader);
        if (type === message.ReadyForQuery) return body[0] === transactionStatus.idle && reader.detach().length === 0 && this.isAlive;
        if (type === message.ParameterStatus) this.parameters.set(...decodeParameterStatus(body));
        else if (type !== message.NoticeResponse) return false;
      }
    } catch {
      return false;
    } finally {
      if (this.pipe.sink === reader) reader.detach();
      this.#watchIdle();
    }
  }

  /** Whether the role's own settings had no part in this session. What cannot be found out counts as a no. */
  async isUnaltered(signal: AbortSignal): Promise<boolean> {
    const reader = new PipeReader(this.pipe, maxLoginMessageBytes, signal);
    try {
      this.pipe.write(encodeQuery(ownSettingsQuestion));
      let unaltered = true;
      for (;;) {
        const { type, body } = await readMessage(reader);
        if (type === message.ReadyForQuery) break;
        if (type === message.DataRow || type === message.ErrorResponse) unaltered = false;
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

  close(): Promise<void> | undefined {
    this.onDeath = undefined;
    if (this.pipe.isClosed || this.#dead) return undefined;
    this.#dead = true;
    return new Promise((resolve) => {
      // The server gives up the session's place before it closes the connection; one that never does is given up by the pipe.
      this.pipe.sink = { data: () => undefined, drain: () => undefined, closed: () => resolve() };
      this.pipe.end(encodeTerminate());
      this.pipe.resume();
    });
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

  /** Nobody uses it for now, though it was not reset. */
  rest(): void {
    this.#watchIdle();
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
