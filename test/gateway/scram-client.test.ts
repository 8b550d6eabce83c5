/** What the control plane tells a database server that wants the password in a weaker way, or does not know it itself. */
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../core/clock.ts";
import { readClientFirst, ScramServer } from "../../core/scram.ts";
import { makeScramKeys, toBase64 } from "../../core/secrets.ts";
import { inspectServer } from "../../gateway/clusters/inspect-server.ts";
import { nodeCrypto } from "../../gateway/runtime/crypto.ts";
import { ScramClient } from "../../gateway/scram-client.ts";
import { openExisting } from "../../gateway/server-target.ts";
import { createSqlDialer } from "../../gateway/sql-dialer.ts";
import { openStore } from "../../gateway/store/store.ts";
import { int32, message, reply } from "../engines/postgres/support/wire.ts";
import { readSources } from "../structure/repository.ts";
import { testSecrets } from "../support/postgres.ts";

const password = "correct-horse";
const welcome = [message("R", int32(0)), reply.ready()];
const askForScram = message("R", int32(10), "SCRAM-SHA-256\0\0");

type Answer = (body: Buffer, turn: number) => Uint8Array[] | Promise<Uint8Array[]>;

/** A server that answers the start-up packet (turn 0) and each message after it. */
class Impostor {
  readonly received: Buffer[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(answer: Answer) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      let turn = 0;
      socket.on("error", () => socket.destroy());
      socket.on("data", (chunk: Buffer) => {
        if (turn > 0) this.received.push(chunk);
        void Promise.resolve(answer(chunk, turn++)).then((frames) => socket.write(Buffer.concat(frames)));
      });
    });
  }

  async listen(): Promise<number> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    return (this.#server.address() as { port: number }).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}

let impostor: Impostor;
afterEach(() => impostor.stop());

async function start(answer: Answer): Promise<number> {
  impostor = new Impostor(answer);
  return await impostor.listen();
}

async function logIn(answer: Answer, given: string | (() => string) = password): Promise<unknown> {
  const port = await start(answer);
  const client = new ScramClient({ host: "127.0.0.1", port, user: "postgres", password: given, database: "postgres", connectionTimeoutMillis: 5000 });
  client.on("error", () => undefined);
  return await client.connect().then(
    () => client.end().then(() => undefined),
    (error: unknown) => error,
  );
}

/** Both halves of SCRAM as a server with these keys does them; `last` gets the server's last message. */
async function scram(known: string, last: (final: Uint8Array) => Uint8Array[]): Promise<Answer> {
  const salt = Buffer.alloc(16, 1);
  const keys = await makeScramKeys(nodeCrypto, known, salt, 4096);
  let server: ScramServer;
  return (chunk, turn) => {
    if (turn === 0) return [askForScram];
    if (turn === 1) {
      server = new ScramServer(nodeCrypto, readClientFirst(chunk.subarray(5 + 18), false, false), salt, 4096, undefined);
      return [message("R", int32(11), server.serverFirst)];
    }
    if (turn > 2) return []; // goodbye
    return last(message("R", int32(12), server.readClientFinal(chunk.subarray(5)).serverFinal(keys)));
  };
}

describe("a database server", () => {
  it.each([
    ["in clear", message("R", int32(3))],
    ["as MD5", message("R", int32(5), "salt")],
  ])("that asks for the password %s gets nothing, and it is said what to do", async (how, question) => {
    expect(await logIn(() => [question])).toMatchObject({
      message: expect.stringMatching(new RegExp(`asks for the password ${how}.*password_encryption = 'scram-sha-256'`)),
    });
    expect(impostor.received).toEqual([]);
  });

  it("that proves that it knows the password is used", async () => {
    expect(await logIn(await scram(password, (final) => [final, ...welcome]))).toBeUndefined();
  });

  it("that asks for no password is taken at its word", async () => {
    expect(await logIn(() => welcome)).toBeUndefined();
  });

  const unproven = { message: "the database server did not prove that it knows the password" };

  it("that leaves its own proof out is refused", async () => {
    expect(await logIn(await scram(password, () => welcome))).toMatchObject(unproven);
  });

  it.each([
    ["a password", password],
    ["a password that is asked for", () => password],
  ])("that takes its question for %s back is refused", async (_, given) => {
    expect(await logIn(() => [askForScram, ...welcome], given)).toMatchObject(unproven);
  });

  it("that proves another password is refused", async () => {
    const lie = message("R", int32(12), `v=${toBase64(new Uint8Array(32))}`);
    expect(await logIn(await scram(password, () => [lie, ...welcome]))).toMatchObject({
      message: expect.stringContaining("signature does not match"),
    });
  });
});

describe("no password in clear reaches a server", () => {
  const askInClear: Answer = () => [message("R", int32(3))];
  const said = /asks for the password in clear/;

  it("that database_url names", async () => {
    const port = await start(askInClear);
    await expect(openExisting(`postgresql://postgres:${password}@127.0.0.1:${port}/postgres`, "--database-url")).rejects.toThrow(said);
    expect(impostor.received).toEqual([]);
  });

  it("that is a cluster, from its administrator or a database's owner", async () => {
    const port = await start(askInClear);
    const target = { host: "127.0.0.1", port, user: "postgres", password };
    const dialer = createSqlDialer({ clusters: new Map([["main", target]]), secrets: testSecrets() });
    const database = { clusterId: "main", name: "tdb_0123456789abcdef", passwordGeneration: 1 };
    for (const connect of [() => dialer.asAdmin("main"), () => dialer.asRole(database, "admin")])
      await expect(connect()).rejects.toMatchObject({ kind: "backend_unreachable", details: { cause: { message: expect.stringMatching(said) } } });
    expect(impostor.received).toEqual([]);
  });

  it("that is to become a cluster", async () => {
    const port = await start(askInClear);
    const connection = { host: "127.0.0.1", port, user: "postgres", password, database: "postgres", sslmode: "disable" } as const;
    await expect(inspectServer(connection, { allowPrivate: true, allow: ["127.0.0.0/8"] }, [])).rejects.toThrow(said);
    expect(impostor.received).toEqual([]);
  });

  it("that has the control database", async () => {
    const port = await start(askInClear);
    const log = { write: () => undefined };
    const connection = { host: "127.0.0.1", port, user: "postgres", password, database: "postgres" };
    await expect(openStore({ connection, clock: systemClock, log })).rejects.toThrow(said);
    expect(impostor.received).toEqual([]);
  });

  it("whatever part of the gateway connects: only sources of other people's are spoken to by node-postgres itself", async () => {
    const sources = await readSources(["gateway"]);
    const plain = sources.filter(({ text }) => /new pg\.(Client\(|Pool\((?!.*Client: ScramClient))/.test(text));
    expect(plain.map(({ path }) => path)).toEqual(["gateway/imports/postgres-source.ts", "gateway/schemas/read-postgres.ts"]);
  });
});
