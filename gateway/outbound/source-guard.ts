/** Keeps a database server of other people's from ending, filling or stopping the gateway: looks at what it sends before a driver does. */
import type { Duplex } from "node:stream";
import type pg from "pg";

const mib = 1024 * 1024;
/** All a server may say between two steps beside rows: greetings, notices, errors. */
const maxTalkBytes = 4 * mib;
/** Of an answer that is held as a whole. */
const maxAnswerBytes = 128 * mib;

export interface SourceLimits {
  /** How long a whole answer, or the next whole row, may take. */
  readonly stallMs: number;
  /** The setting that changes it, for messages. */
  readonly stallSetting?: string;
  /** Of one row, as COPY text where it comes so. */
  readonly maxRowBytes: number;
}

/** What a server did that it is cut off for. */
export class SourceFault extends Error {
  override readonly name = "SourceFault";
}

/** A row too long to be taken: the source is well, the row is not. */
export class RowTooLong extends SourceFault {}

/** What is expected: nothing but talk, an answer held as a whole, rows one by one. */
type Phase = "talk" | "answer" | "rows";

/** One connection. Bytes are counted since the last step: a command done, an answer begun, a row got. */
export class SourceGuard {
  readonly limits: SourceLimits;
  /** Set for good by the first fault; what the driver says afterwards is its consequence. */
  fault: SourceFault | undefined;
  /** Between a COPY and its end. */
  isCopying = false;
  readonly #cut: (fault: SourceFault) => void;
  #phase: Phase = "talk";
  #bytes = 0;
  #rowBytes = 0;
  #waitedMs = 0;
  #giveUp: ((fault: SourceFault) => void) | undefined;

  /** @param cut ends the connection at once; whoever waits for the driver then gets an error. */
  constructor(limits: SourceLimits, cut: (fault: SourceFault) => void) {
    this.limits = limits;
    this.#cut = cut;
  }

  fail(fault: SourceFault): void {
    if (this.fault) return;
    this.fault = fault;
    this.#cut(fault);
    this.#giveUp?.(fault); // drivers do not tell of every end
  }

  /** Leaves what is being waited for. @returns false where nothing is. */
  leave(): boolean {
    if (!this.#giveUp) return false;
    this.fail(new SourceFault("the import left it"));
    return true;
  }

  /** @throws {SourceFault} of the server's, in place of the driver's error that came of it. */
  async during<T>(phase: Phase, work: () => Promise<T>): Promise<T> {
    this.begin(phase);
    try {
      return await this.wait(work);
    } finally {
      this.begin("talk");
    }
  }

  begin(phase: Phase): void {
    this.#phase = phase;
    this.step();
  }

  /** A whole row was got, or something else that is one: what was sent and waited for until now is forgiven. */
  step(): void {
    this.#bytes = 0;
    this.#waitedMs = 0;
  }

  /** Only waiting for the source counts: what the writing side takes is not its fault. */
  async wait<T>(work: () => Promise<T>): Promise<T> {
    if (this.fault) throw this.fault;
    const startedMs = performance.now();
    const { stallMs, stallSetting } = this.limits;
    const message = `no whole row or answer came from it within ${stallMs / 1000} s${stallSetting ? ` (${stallSetting})` : ""}`;
    const timer = setTimeout(() => this.fail(new SourceFault(message)), Math.max(0, stallMs - this.#waitedMs));
    const cut = new Promise<never>((_, reject) => {
      this.#giveUp = reject;
    });
    try {
      return await Promise.race([work(), cut]);
    } catch (error) {
      throw this.fault ?? error;
    } finally {
      this.#giveUp = undefined;
      clearTimeout(timer);
      this.#waitedMs += performance.now() - startedMs;
    }
  }

  /** Bytes of a row that comes in pieces: a newline ends it, and is nothing else in COPY text. */
  countRows(chunk: Uint8Array): void {
    const first = chunk.indexOf(10);
    this.#rowBytes += first === -1 ? chunk.length : first;
    if (this.#rowBytes > this.limits.maxRowBytes) this.fail(rowTooLong(this.limits));
    this.#bytes = 0;
    if (first === -1) return;
    this.#rowBytes = chunk.length - 1 - chunk.lastIndexOf(10);
    this.step();
  }

  /** Bytes of anything a driver holds until it is whole. */
  count(bytes: number): void {
    this.#bytes += bytes;
    this.expect(0);
  }

  /** So many are said to follow: what is too much is not waited for. */
  expect(bytes: number): void {
    const most = { talk: maxTalkBytes, answer: maxAnswerBytes, rows: this.limits.maxRowBytes + maxTalkBytes }[this.#phase];
    if (this.#bytes + bytes <= most) return;
    if (this.#phase === "rows") this.fail(rowTooLong(this.limits));
    else
      this.fail(new SourceFault(`it sent more than ${most / mib} MiB where ${this.#phase === "talk" ? "a short word" : "one answer"} was expected`));
  }
}

function rowTooLong({ maxRowBytes }: SourceLimits): RowTooLong {
  return new RowTooLong(`is longer than import.max_row_mb (${maxRowBytes / mib})`);
}

function brokenProtocol(error: unknown): SourceFault {
  return new SourceFault("it broke its protocol", { cause: error });
}

/** Before it is connected; in the clear before TLS there is one byte, which is no message. */
export function guardPostgresClient(client: pg.Client, limits: SourceLimits): SourceGuard {
  const guard = new SourceGuard(limits, (fault) => client.connection.stream.destroy(fault));
  const { connection } = client;
  if (client.ssl) connection.once("sslconnect", () => guardPostgresStream(connection.stream, guard));
  else guardPostgresStream(connection.stream, guard);
  return guard;
}

/**
 * For a stream of PostgreSQL's messages that node-postgres reads. It believes lengths, reads bodies unchecked, and throws out of event
 * handlers, where nobody would catch it.
 */
function guardPostgresStream(stream: Duplex, guard: SourceGuard): void {
  const frames = new FrameCheck(guard);
  const push = stream.push.bind(stream);
  stream.push = (chunk: Uint8Array | null, ...rest) => {
    if (guard.fault) return false;
    if (chunk !== null) frames.check(chunk);
    return guard.fault ? false : push(chunk, ...rest);
  };
  const emit = stream.emit.bind(stream) as (event: string | symbol, ...args: unknown[]) => boolean;
  stream.emit = ((event: string | symbol, ...args: unknown[]) => {
    if (event !== "data" && event !== "readable") return emit(event, ...args);
    try {
      return emit(event, ...args);
    } catch (error) {
      guard.fail(brokenProtocol(error));
      return true;
    }
  }) as typeof stream.emit;
}

const headerBytes = 5;
/** d, H, S, N, A: rows of a COPY and what they are interspersed with. Anything else ends it, and the driver holds whole what comes then. */
const copyTypes: readonly number[] = [0x64, 0x48, 0x53, 0x4e, 0x41];

/** Messages' types and lengths, over any cutting of the stream. */
class FrameCheck {
  readonly #guard: SourceGuard;
  /** The beginning of a header that came in pieces. */
  readonly #header = new Uint8Array(headerBytes);
  #have = 0;
  /** Of the message's body. */
  #left = 0;
  #isRows = false;
  /** Of an error or notice: its fields end with two zeros, and node-postgres looks for them for ever. */
  #isFields = false;
  /** How many zeros it ends with until now; what comes before its body counts as one. */
  #zeros = 1;

  constructor(guard: SourceGuard) {
    this.#guard = guard;
  }

  check(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && !this.#guard.fault; ) {
      if (this.#left > 0) {
        const body = Math.min(this.#left, chunk.length - at);
        this.#left -= body;
        at += body;
        if (this.#isFields) this.#checkFields(chunk, at, body);
        if (!this.#isRows) this.#guard.count(body); // rows are passed on in pieces, and counted there
      } else if (this.#have === 0 && chunk.length - at >= headerBytes) {
        this.#begin(chunk, at);
        at += headerBytes;
      } else {
        this.#header[this.#have++] = chunk[at++]!;
        if (this.#have < headerBytes) continue;
        this.#have = 0;
        this.#begin(this.#header, 0);
      }
    }
  }

  #begin(bytes: Uint8Array, at: number): void {
    const type = bytes[at]!;
    const length = bytes[at + 1]! * 0x1000000 + ((bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!);
    if (length < 4) this.#guard.fail(new SourceFault(`it broke its protocol: a message of ${length} bytes`));
    this.#left = Math.max(0, length - 4);
    if (!copyTypes.includes(type)) this.#guard.isCopying = false;
    this.#isRows = type === 0x64 && this.#guard.isCopying;
    this.#guard.count(headerBytes);
    if (!this.#isRows) this.#guard.expect(this.#left);
    this.#isFields = type === 0x45 || type === 0x4e;
    this.#zeros = 1;
    if (this.#isFields) this.#checkFields(bytes, at, 0);
  }

  /** @param length of the part of the body before `end`. */
  #checkFields(chunk: Uint8Array, end: number, length: number): void {
    let zeros = 0;
    while (zeros < Math.min(length, 2) && chunk[end - 1 - zeros] === 0) zeros++;
    this.#zeros = zeros === length ? this.#zeros + zeros : zeros;
    if (this.#left === 0 && this.#zeros < 2) this.#guard.fail(new SourceFault("it broke its protocol: an error without an end"));
  }
}

/** A goodbye's answer is waited for no longer: it has been said. */
const goodbyeMs = 250;

/** Says goodbye, and leaves after a while without an answer. */
export async function endPostgresClient(client: pg.Client): Promise<void> {
  const patience = setTimeout(() => client.connection.stream.destroy(), goodbyeMs);
  await client.end().catch(() => undefined);
  clearTimeout(patience);
}

/** The part of mysql2's connection that is not in its types. */
interface MysqlInternals {
  readonly packetParser: { execute(chunk: Uint8Array): unknown };
  on(event: "warn", listener: (warning: Error) => void): unknown;
}

/** For a connection of mysql2, which joins packets to rows of any size and writes to stderr about those that are out of order. */
function guardMysqlConnection(connection: object, guard: SourceGuard): void {
  const { packetParser: parser } = connection as MysqlInternals;
  (connection as MysqlInternals).on("warn", (warning) => {
    throw warning; // caught below, before it is written
  });
  // It replaces its own method as it goes, and calls it for the rest of a chunk.
  let execute = parser.execute;
  let isInside = false;
  const guarded = (chunk: Uint8Array): void => {
    if (isInside) return void execute.call(parser, chunk);
    guard.count(chunk.length);
    if (guard.fault) return;
    isInside = true;
    try {
      execute.call(parser, chunk);
    } catch (error) {
      guard.fail(brokenProtocol(error));
    } finally {
      isInside = false;
    }
  };
  const set = (next: typeof execute) => {
    execute = next;
  };
  Object.defineProperty(parser, "execute", { get: () => guarded, set });
}

/** As soon as it is made. */
export function guardMysqlClient(client: object, limits: SourceLimits): SourceGuard {
  const { stream } = client as { stream: Duplex };
  // Of the stream in the clear as well: TLS's ends with it.
  const guard = new SourceGuard(limits, (fault) => stream.destroy(fault));
  guardMysqlConnection(client, guard);
  return guard;
}
