/** One backend after another, with scripted servers: what is sent before a client's own bytes, and what becomes of servers that misbehave. */
import { beforeEach, describe, expect, it } from "vitest";
import { type BytePipe, pipePair } from "../../../../core/byte-pipe.ts";
import { GatewayError } from "../../../../core/errors.ts";
import { PostgresBackend } from "../../../../engines/postgres/backend-session.ts";
import type { Lender, SharedLease } from "../../../../engines/postgres/shared/lender.ts";
import { SharedBackend } from "../../../../engines/postgres/shared/shared-backend.ts";
import { bind, execute, parse, query, sync } from "../../../e2e/support/wire.ts";
import { type Frame, reply, settle, splitFrames, testCrypto } from "../support/wire.ts";

/** A server's side of one backend. */
class Server {
  readonly backend: PostgresBackend;
  readonly #pipe: BytePipe;
  #received = Buffer.alloc(0);
  cancels = 0;

  constructor() {
    const [near, far] = pipePair();
    this.#pipe = far;
    far.sink = {
      data: (chunk) => {
        this.#received = Buffer.concat([this.#received, chunk]);
      },
      drain: () => undefined,
      closed: () => undefined,
    };
    far.resume();
    this.backend = new PostgresBackend(near, new Map([["TimeZone", "UTC"]]), { pid: 1, secret: new Uint8Array(4) }, async () => {
      this.cancels++;
    });
  }

  /** What came since the last call. */
  async heard(): Promise<Frame[]> {
    await settle();
    const { frames, rest } = splitFrames(this.#received);
    this.#received = Buffer.from(rest);
    return frames;
  }

  async heardTexts(): Promise<string[]> {
    return (await this.heard()).map(({ type, body }) => `${type} ${body.toString("latin1").replaceAll("\0", "·")}`);
  }

  async say(...messages: Uint8Array[]): Promise<void> {
    this.#pipe.write(Buffer.concat(messages));
    await settle();
  }

  async die(): Promise<void> {
    this.#pipe.destroy();
    await settle();
  }
}

/** Lends what stands in its list; what is at rest comes back to the end of it. */
class Pool implements Lender {
  readonly free: PostgresBackend[] = [];
  readonly released: [PostgresBackend, boolean][] = [];
  readonly #waiting: ((backend: PostgresBackend) => void)[] = [];

  take(): SharedLease | undefined {
    const backend = this.free.shift();
    return backend && this.#lend(backend);
  }

  wait(signal: AbortSignal): Promise<SharedLease> {
    return new Promise((resolve, reject) => {
      const serve = (backend: PostgresBackend) => resolve(this.#lend(backend));
      this.#waiting.push(serve);
      signal.addEventListener("abort", () => {
        this.#waiting.splice(this.#waiting.indexOf(serve), 1);
        reject(signal.reason);
      });
    });
  }

  give(backend: PostgresBackend): void {
    const next = this.#waiting.shift();
    if (next) next(backend);
    else this.free.push(backend);
  }

  #lend(backend: PostgresBackend): SharedLease {
    return {
      backend,
      rest: () => {
        backend.rest();
        this.give(backend);
      },
      takeAgain: () => {
        const at = this.free.indexOf(backend);
        if (at >= 0) this.free.splice(at, 1);
        return at >= 0;
      },
      release: (reusable) => void this.released.push([backend, reusable]),
    };
  }
}

/** A client, as the relay is. */
class Client {
  readonly shared: SharedBackend;
  #chunks: Uint8Array[] = [];
  ended: Error | undefined | "no" = "no";

  constructor(pool: Pool) {
    this.shared = new SharedBackend({
      lender: pool,
      parameters: new Map([["TimeZone", "UTC"]]),
      digest: (data) => testCrypto.sha256(data),
      shares: () => true,
    });
    this.shared.pipe.sink = {
      data: (chunk) => void this.#chunks.push(chunk),
      drain: () => undefined,
      closed: (error) => {
        this.ended = error;
      },
    };
    this.shared.pipe.resume();
  }

  send(...messages: Uint8Array[]): void {
    this.shared.pipe.write(Buffer.concat(messages));
  }

  async heard(): Promise<string> {
    await settle();
    const { frames } = splitFrames(Buffer.concat(this.#chunks.splice(0)));
    return frames.map(({ type }) => type).join("");
  }
}

/** The proof that a session is as after login. */
const cleaned = Buffer.concat([
  ...["RESET", "SET", "CLOSE CURSOR ALL", "UNLISTEN"].map(reply.complete),
  reply.rowDescription(),
  reply.row(""),
  ...["SELECT 1", "DISCARD TEMP", "DISCARD SEQUENCES"].map(reply.complete),
  reply.ready(),
]);
const cleaning = expect.stringMatching(/^Q RESET ALL; SET SESSION AUTHORIZATION DEFAULT; .*DISCARD SEQUENCES·$/);

describe("a shared backend", () => {
  let pool: Pool;
  let server: Server;
  beforeEach(() => {
    pool = new Pool();
    server = new Server();
    pool.give(server.backend);
  });

  async function ask(client: Client, sql: string, tag: string): Promise<void> {
    client.send(query(sql));
    await settle();
    await server.say(reply.complete(tag), reply.ready());
  }

  it("is at rest between two transactions, and the same client takes it again without a word", async () => {
    const client = new Client(pool);
    await ask(client, "SELECT 1", "SELECT 1");
    expect(pool.free).toEqual([server.backend]);
    await ask(client, "SELECT 2", "SELECT 1");
    expect(await server.heardTexts()).toEqual(["Q SELECT 1·", "Q SELECT 2·"]);
    expect(await client.heard()).toBe("CZCZ");
  });

  it("is not while a transaction is open, or extended messages have no Sync yet", async () => {
    const client = new Client(pool);
    client.send(query("BEGIN"));
    await settle();
    await server.say(reply.complete("BEGIN"), reply.ready("T"));
    expect(pool.free).toEqual([]);
    await ask(client, "COMMIT", "COMMIT");
    expect(pool.free).toHaveLength(1);
    client.send(parse("", "SELECT 1"), bind("", ""), execute(), Buffer.from("H\0\0\0\x04"));
    await settle();
    await server.say(reply.parseComplete, reply.bindComplete, reply.complete("SELECT 1"));
    expect(pool.free).toEqual([]);
    client.send(sync);
    await settle();
    await server.say(reply.ready());
    expect(pool.free).toHaveLength(1);
  });

  it("passes to another client only behind the proof that it is clean; settings follow, each in its turn", async () => {
    const [a, b] = [new Client(pool), new Client(pool)];
    await ask(a, "SET app.who = 'a'", "SET");
    await server.heard();
    b.send(query("SELECT 'b'"));
    expect(await server.heardTexts()).toEqual([cleaning]);
    await server.say(cleaned.subarray(0, 40));
    expect(await server.heardTexts()).toEqual([]);
    await server.say(cleaned.subarray(40));
    expect(await server.heardTexts()).toEqual(["Q SELECT 'b'·"]);
    await server.say(reply.complete("SELECT 1"), reply.ready());
    expect(await b.heard()).toBe("CZ");
    a.send(query("SELECT 'a'"));
    expect(await server.heardTexts()).toEqual([cleaning, "Q SET app.who = 'a'·"]);
    await server.say(cleaned, reply.complete("SET"), reply.parameter("TimeZone", "GMT"), reply.ready());
    expect(await server.heardTexts()).toEqual(["Q SELECT 'a'·"]);
    expect(await a.heard()).toBe("CZS"); // of its SET; and what is reported otherwise now
  });

  it.for<[string, Buffer]>([
    ["an error", Buffer.concat([reply.complete("RESET"), reply.error("57014", "canceled"), reply.ready()])],
    [
      "a step that is missing",
      Buffer.concat([...["RESET", "SET", "UNLISTEN", "SELECT 1", "DISCARD TEMP", "DISCARD SEQUENCES"].map(reply.complete), reply.ready()]),
    ],
    ["a transaction that is open", Buffer.concat([cleaned.subarray(0, cleaned.length - 1), Buffer.from("T")])],
  ])("is closed where the proof fails: %s", async ([, answer]) => {
    const [a, b] = [new Client(pool), new Client(pool)];
    await ask(a, "SELECT 1", "SELECT 1");
    await server.heard();
    b.send(query("SELECT 'b'"));
    await settle();
    await server.say(answer);
    expect(pool.released).toEqual([[server.backend, false]]);
    expect(await server.heardTexts()).toEqual([cleaning]);
    const fresh = new Server();
    pool.give(fresh.backend);
    expect(await fresh.heardTexts()).toEqual(["Q SELECT 'b'·"]);
    await fresh.say(reply.complete("SELECT 1"), reply.ready());
    expect(await b.heard()).toBe("CZ");
    expect(b.ended).toBe("no");
  });

  it("that dies while it is cleaned is replaced; too many of them end the client", async () => {
    const [a, b] = [new Client(pool), new Client(pool)];
    let last = server;
    await ask(a, "SELECT 1", "SELECT 1");
    b.send(query("SELECT 'b'"));
    for (let i = 0; i < 6; i++) {
      await settle();
      await last.die();
      if (i === 5) break;
      // Another one that was somebody's before.
      last = new Server();
      const other = new Client(Object.assign(new Pool(), { free: [last.backend] }));
      other.send(query("SELECT 1"));
      await settle();
      await last.say(reply.complete("SELECT 1"), reply.ready());
      pool.give(last.backend);
    }
    await settle();
    expect(b.ended).toBeInstanceOf(GatewayError);
  });

  it("whose settings are refused on another backend ends the client: it must not go on with others", async () => {
    const [a, b] = [new Client(pool), new Client(pool)];
    await ask(a, "SET app.who = 'a'", "SET");
    b.send(query("SELECT 1"));
    await settle();
    await server.say(cleaned, reply.complete("SELECT 1"), reply.ready());
    a.send(query("SELECT 'a'"));
    await settle();
    await server.say(cleaned, reply.error("42501", "permission denied to set parameter"), reply.ready());
    expect(a.ended).toMatchObject({ kind: "terminated" });
    expect(await a.heard()).toBe("CZ");
    expect(pool.released).toEqual([[server.backend, false]]);
  });

  it("that ends while at rest is no client's loss; in a transaction it is", async () => {
    const client = new Client(pool);
    await ask(client, "SELECT 1", "SELECT 1");
    pool.free.length = 0;
    await server.die();
    expect(client.ended).toBe("no");
    server = new Server();
    pool.give(server.backend);
    client.send(query("BEGIN"));
    await settle();
    await server.say(reply.complete("BEGIN"), reply.ready("T"));
    await server.die();
    expect(client.ended).toBeInstanceOf(GatewayError);
  });

  it("is not given away while a cancel request for it is on its way", async () => {
    const client = new Client(pool);
    client.send(query("SELECT 1"));
    await settle();
    const done = client.shared.cancel();
    expect(server.cancels).toBe(1);
    await done;
    await server.say(reply.error("57014", "canceling statement due to user request"), reply.ready());
    expect(pool.free).toHaveLength(1);
    expect(await client.heard()).toBe("EZ");
  });

  it("that is waited for: a cancel answers the request and drops the rest of it, however it comes", async () => {
    pool.free.length = 0;
    const client = new Client(pool);
    client.send(parse("", "SELECT 1"), bind("", ""));
    await client.shared.cancel();
    expect(await client.heard()).toBe("E");
    const rest = Buffer.concat([execute(), sync, query("SELECT 2")]);
    for (const byte of rest) client.send(Uint8Array.of(byte));
    expect(await client.heard()).toBe("Z");
    pool.give(server.backend);
    expect(await server.heardTexts()).toEqual(["Q SELECT 2·"]);
  });

  it("goes back to the pool for good with the client, to be reset where it is at rest", async () => {
    const client = new Client(pool);
    client.send(query("LISTEN a"));
    await settle();
    await server.say(reply.complete("LISTEN"), reply.ready());
    expect([pool.free, client.shared.pins]).toEqual([[], ["listen"]]);
    client.shared.release(true);
    expect(pool.released).toEqual([[server.backend, true]]);
    const other = new Client(pool);
    server = new Server();
    pool.give(server.backend);
    other.send(query("BEGIN"));
    await settle();
    await server.say(reply.complete("BEGIN"), reply.ready("T"));
    other.shared.release(true);
    expect(pool.released.at(-1)).toEqual([server.backend, false]);
  });
});
