/**
 * Thousands of clients of many tenants in one process, each as small as can be: its own wire code, SCRAM included, and no driver.
 * Its argument is a file with a `Crowd` as JSON; it prints a `CrowdResult` as JSON when it has measured.
 */
import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { pathToFileURL } from "node:url";
import { ScramClient } from "../../core/scram.ts";
import { nodeCrypto } from "../../gateway/runtime/crypto.ts";
import { median } from "../statistics.ts";

export interface Crowd {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly tenants: readonly { readonly database: string; readonly password: string }[];
  /** All together, as many for each tenant. */
  readonly clients: number;
  /** `visit`: connect, one transaction, leave, and again; `stay`: connect once, then one transaction after the other. */
  readonly manner: "visit" | "stay";
  readonly sql: string;
  readonly warmUpMs: number;
  readonly measureMs: number;
}

export interface CrowdResult {
  /** Of each tenant: the median of its transactions' times, connecting included where that is part of it; null where it had none. */
  readonly medianMs: readonly (number | null)[];
  readonly transactions: readonly number[];
  /** By SQLSTATE, or what the socket said. */
  readonly errors: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/** Clients that prove their password at the same time: what the gateway lets in at once is not what is measured. */
const loginsAtOnce = 100;
/** Ports of one loopback address would run out. */
const addresses = 50;

/** One connection; frontend and backend messages as far as a simple query needs them. */
class Connection {
  readonly #socket: Socket;
  readonly #scram: ScramClient;
  #received: Buffer = Buffer.alloc(0);
  #ready: (() => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  #onAuthenticated: () => void;

  constructor(crowd: Crowd, at: number, onAuthenticated: () => void) {
    const { database, password } = crowd.tenants[at % crowd.tenants.length]!;
    this.#onAuthenticated = onAuthenticated;
    this.#scram = new ScramClient(rememberingCrypto, password);
    this.#socket = connect({ host: crowd.host, port: crowd.port, localAddress: `127.0.3.${1 + (at % addresses)}`, noDelay: true }, () => {
      this.#socket.write(startupPacket(crowd.user, database));
    });
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", (error: NodeJS.ErrnoException) => this.#fail(error.code ?? error.message));
    this.#socket.on("close", () => this.#fail("closed"));
  }

  /** Resolves at the next ReadyForQuery. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#ready = resolve;
      this.#failed = reject;
    });
  }

  query(sql: string): Promise<void> {
    this.#socket.write(message("Q", Buffer.from(`${sql}\0`)));
    return this.ready();
  }

  leave(): void {
    this.#failed = undefined;
    this.#socket.end(message("X", Buffer.alloc(0)));
  }

  #take(chunk: Buffer): void {
    let bytes = this.#received.length > 0 ? Buffer.concat([this.#received, chunk]) : chunk;
    while (bytes.length >= 5 && bytes.length > bytes.readUInt32BE(1)) {
      const end = 1 + bytes.readUInt32BE(1);
      this.#answer(String.fromCharCode(bytes[0]!), bytes.subarray(5, end));
      bytes = bytes.subarray(end);
    }
    this.#received = bytes;
  }

  #answer(type: string, body: Buffer): void {
    if (type === "Z") this.#ready?.();
    else if (type === "E") this.#fail(/\0C([^\0]+)/.exec(`\0${body.toString("latin1")}`)?.[1] ?? "error");
    else if (type === "R") void this.#authenticate(body.readUInt32BE(0), body.toString("latin1", 4));
  }

  async #authenticate(step: number, text: string): Promise<void> {
    try {
      if (step === 0) this.#onAuthenticated();
      else if (step === 10) {
        const first = Buffer.from(this.#scram.clientFirst);
        const length = Buffer.alloc(4);
        length.writeUInt32BE(first.length, 0);
        this.#socket.write(message("p", Buffer.concat([Buffer.from("SCRAM-SHA-256\0"), length, first])));
      } else if (step === 11) this.#socket.write(message("p", Buffer.from(await this.#scram.answer(text))));
      else if (step === 12) this.#scram.verify(text);
      else throw new Error(`authentication ${step}`);
    } catch (error) {
      this.#fail(String(error));
    }
  }

  #fail(why: string): void {
    const failed = this.#failed;
    this.#failed = undefined;
    failed?.(new Error(why));
    this.#socket.destroy();
  }
}

/** All clients of a tenant have one password, and a project one salt: the slow part is done once for each. */
const remembered = new Map<string, Promise<Uint8Array>>();
const rememberingCrypto = {
  ...nodeCrypto,
  pbkdf2Sha256(password: Uint8Array, salt: Uint8Array, iterations: number): Promise<Uint8Array> {
    const name = `${Buffer.from(password).toString("hex")} ${Buffer.from(salt).toString("hex")} ${iterations}`;
    const known = remembered.get(name) ?? nodeCrypto.pbkdf2Sha256(password, salt, iterations);
    remembered.set(name, known);
    return known;
  },
};

function startupPacket(user: string, database: string): Buffer {
  const packet = Buffer.from(`\0\0\0\0\0\x03\0\0user\0${user}\0database\0${database}\0\0`, "latin1");
  packet.writeUInt32BE(packet.length, 0);
  return packet;
}

function message(type: string, body: Buffer): Buffer {
  const bytes = Buffer.concat([Buffer.from(type), Buffer.alloc(4), body]);
  bytes.writeUInt32BE(4 + body.length, 1);
  return bytes;
}

/** Lets a number of holders in at a time. */
class Gate {
  #free: number;
  readonly #line: (() => void)[] = [];

  constructor(free: number) {
    this.#free = free;
  }

  async enter(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#line.push(resolve));
  }

  leave(): void {
    const next = this.#line.shift();
    if (next) next();
    else this.#free++;
  }
}

async function gather(crowd: Crowd): Promise<CrowdResult> {
  const gate = new Gate(loginsAtOnce);
  const times: number[][] = crowd.tenants.map(() => []);
  const errors: Record<string, number> = {};
  let phase: "warm-up" | "measuring" | "over" = "warm-up";
  const isIn = (asked: typeof phase) => phase === asked;
  /** Connected. @throws Error whose message tells what went wrong. */
  const enter = async (at: number, from: () => void = () => undefined): Promise<Connection> => {
    await gate.enter();
    from();
    let isInside = false;
    const pass = () => {
      if (!isInside) gate.leave();
      isInside = true;
    };
    const connection = new Connection(crowd, at, pass);
    await connection.ready().finally(pass);
    return connection;
  };
  const note = (at: number, beganMs: number) => {
    if (isIn("measuring")) times[at % times.length]!.push(performance.now() - beganMs);
  };
  const live = async (at: number, standing: Connection | undefined) => {
    let connection = standing;
    while (!isIn("over")) {
      let beganMs = performance.now();
      try {
        connection ??= await enter(at, () => {
          if (crowd.manner === "visit") beganMs = performance.now();
        });
        await connection.query(crowd.sql);
        note(at, beganMs);
        if (crowd.manner === "stay") continue;
        connection.leave();
      } catch (error) {
        const why = (error as Error).message;
        if (!isIn("over")) errors[why] = (errors[why] ?? 0) + 1;
        await new Promise((done) => setTimeout(done, 100));
      }
      connection = undefined;
    }
  };
  const everyone = Array.from({ length: crowd.clients }, (_, at) => at);
  const standing = crowd.manner === "stay" ? await Promise.all(everyone.map((at) => enter(at))) : [];
  for (const at of everyone) void live(at, standing[at]);
  await new Promise((done) => setTimeout(done, crowd.warmUpMs));
  phase = "measuring";
  const beganMs = performance.now();
  await new Promise((done) => setTimeout(done, crowd.measureMs));
  phase = "over";
  return {
    medianMs: times.map((each) => (each.length > 0 ? median(each) : null)),
    transactions: times.map((each) => each.length),
    errors,
    seconds: (performance.now() - beganMs) / 1000,
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const result = await gather(JSON.parse(await readFile(process.argv[2] ?? "", "utf8")) as Crowd);
  process.stdout.write(JSON.stringify(result), () => process.exit(0));
}
