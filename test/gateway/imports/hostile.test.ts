/** Sources that flood, stall, lie about lengths or never end: cut off with a reason, in bounded memory, and the process goes on. */
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import type { ImportConnection } from "../../../core/imports.ts";
import { openMysqlSource } from "../../../gateway/imports/mysql-source.ts";
import { openPostgresSource } from "../../../gateway/imports/postgres-source.ts";
import type { ImportSource } from "../../../gateway/imports/source.ts";
import { readForeignSchema } from "../../../gateway/schemas/read-foreign.ts";
import {
  copyBegin,
  flood,
  type HostileSource,
  mysqlColumns,
  mysqlPacket,
  type OnQuery,
  pgMessage,
  pgRow,
  startMysql,
  startPostgres,
  startSecurePostgres,
} from "./hostile-source.ts";

const mib = 1024 * 1024;
const long = { stallMs: 60_000, maxRowBytes: mib };
/** For what ends by the clock only. */
const short = { stallMs: 300, maxRowBytes: mib };
/** Buffers of the system between the two sides, generously. */
const underWay = 24 * mib;

function open(
  engine: ImportConnection["engine"],
  { port }: HostileSource,
  limits: typeof long,
  sslmode: "disable" | "require" = "disable",
): Promise<ImportSource> {
  const connection = { engine, host: "127.0.0.1", port, user: "u", password: "p", database: "d", sslmode } as const;
  const target = { host: "127.0.0.1", port, address: "127.0.0.1", family: 4 } as const;
  return (engine === "MySQL" ? openMysqlSource : openPostgresSource)(connection, target, limits, () => systemClock.wallMs());
}

/** Reads a table until it fails. @returns rows it got, and the failure. */
async function readAll(source: ImportSource): Promise<[rows: number, failure: Error & { sqlstate?: string }]> {
  let rows = 0;
  const reader = await source.openReader();
  try {
    for await (const chunk of reader.readRows("accounts", [{ name: "c", as: "text" }], undefined)) rows += chunk.filter((byte) => byte === 10).length;
  } catch (error) {
    return [rows, error as Error];
  } finally {
    await reader.close();
    await source.close();
  }
  throw new Error("it was expected to fail");
}

const stalled = "the connection to the source was lost: no whole row or answer came from it within 0.3 s";
const tooLong = "the source cannot be read: a row of accounts is longer than import.max_row_mb (1)";

describe("PostgreSQL sources", () => {
  const copying =
    (then: (socket: Socket) => void): OnQuery =>
    (socket) => {
      socket.write(Buffer.concat([copyBegin, pgMessage("d", "one\n")]));
      then(socket);
    };

  test.each<[what: string, greeting: Buffer, message: RegExp]>([
    ["say nothing", Buffer.alloc(0), /timeout expired/],
    ["say less than a message", pgMessage("S", "server_version", 4000), /timeout expired/],
    ["claim a greeting of 1 GiB", pgMessage("R", "", 2 ** 30), /it sent more than 4 MiB where a short word was expected/],
    ["send a message of no length", pgMessage("S", "", 0), /it broke its protocol: a message of 0 bytes/],
    ["send a message that is cut short", pgMessage("E", "Sno end"), /it broke its protocol/],
  ])("that %s at the greeting are refused", async (_, greeting, message) => {
    const server = await startPostgres(() => undefined, greeting);
    await expect(open("PostgreSQL", server, short)).rejects.toMatchObject({ kind: "bad_request", message: expect.stringMatching(message) });
  });

  test("that greet without end are refused, in bounded memory", async () => {
    const server = await startPostgres(() => undefined, Buffer.alloc(0));
    const notices = pgMessage("S", "parameter\0value\0");
    const flooding = await startPostgres(() => undefined, Buffer.concat(Array.from({ length: 400_000 }, () => notices)));
    await expect(open("PostgreSQL", flooding, long)).rejects.toThrow("it sent more than 4 MiB where a short word was expected");
    await expect(open("PostgreSQL", server, short)).rejects.toThrow("timeout expired");
    expect(flooding.bytesSent()).toBeLessThan(underWay);
  });

  test.each<[what: string, answer: (socket: Socket) => void, message: RegExp]>([
    ["nothing", () => undefined, /no whole row or answer came from it within 0.3 s/],
    ["a column count that is a lie", (socket) => socket.write(pgMessage("T", Buffer.from([0x7f, 0xff]))), /it broke its protocol/],
    ["a value beyond its row", (socket) => socket.write(pgMessage("D", Buffer.from([0, 1, 0x7f, 0xff, 0xff, 0xff]))), /./],
    ["a row of 3 GiB", (socket) => socket.write(pgMessage("D", "", 3 * 2 ** 30)), /it sent more than 128 MiB where one answer was expected/],
    ["rows of a COPY nobody asked for", (socket) => socket.write(pgMessage("d", "", 2 ** 30)), /it sent more than 128 MiB/],
    ["an error that is cut short", (socket) => socket.write(pgMessage("E", "SFATAL")), /it broke its protocol/],
  ])("that answer a question with %s are cut off", async (_, answer, message) => {
    const server = await startPostgres(answer);
    const source = await open("PostgreSQL", server, short);
    await expect(source.query("SELECT 1")).rejects.toThrow(message);
    await source.close();
  });

  test("inside TLS are looked at as well", async () => {
    const answers = [pgRow("fine"), pgMessage("D", "", 3 * 2 ** 30)];
    const server = await startSecurePostgres((socket) => socket.write(answers.shift()!));
    const source = await open("PostgreSQL", server, long, "require");
    expect(await source.query("SELECT 1")).toEqual([{ id: "fine" }]);
    await expect(source.query("SELECT 1")).rejects.toThrow("it sent more than 128 MiB");
    await source.close();
  });

  test("answers beside them are as before, and a goodbye nobody answers keeps nobody", async () => {
    const server = await startPostgres((socket) => socket.write(pgRow("fine")));
    const source = await open("PostgreSQL", server, long);
    expect(await source.query("SELECT 1")).toEqual([{ id: "fine" }]);
    await source.close();
  });

  test.each<[what: string, then: (socket: Socket) => void, message: RegExp]>([
    [
      "notices without end",
      (socket) => flood(socket, pgMessage("N", `S${"x".repeat(60_000)}\0\0`)),
      /it sent more than 4 MiB where a short word was expected/,
    ],
    ["a message of no length", (socket) => socket.write(pgMessage("d", "", 0)), /it broke its protocol: a message of 0 bytes/],
    ["an error of 1 GiB", (socket) => socket.write(pgMessage("E", "", 2 ** 30)), /it sent more than 4 MiB/],
    ["rows again after their end", (socket) => socket.write(Buffer.concat([pgMessage("c"), pgMessage("d", "", 2 ** 30)])), /it sent more than 4 MiB/],
  ])("that send one row and then %s are lost", async (_, then, message) => {
    const server = await startPostgres(copying(then));
    const [, failure] = await readAll(await open("PostgreSQL", server, long));
    expect(failure.message).toMatch(message);
    expect(failure.name).toBe("SourceLost");
    expect(server.bytesSent()).toBeLessThan(underWay);
  });

  test("that stop after one row are lost", async () => {
    const server = await startPostgres(copying(() => undefined));
    expect(await readAll(await open("PostgreSQL", server, short))).toMatchObject([1, { name: "SourceLost", message: stalled }]);
  });

  test("that send a row byte by byte are not waited for longer than one that is silent", async () => {
    const server = await startPostgres(
      copying((socket) => {
        const drip = setInterval(() => socket.write(pgMessage("d", "x")), 5);
        socket.on("close", () => clearInterval(drip));
      }),
    );
    expect((await readAll(await open("PostgreSQL", server, short)))[1].message).toBe(stalled);
  });

  test.each<[what: string, first: Buffer, rest: Buffer]>([
    ["in pieces without end", Buffer.alloc(0), pgMessage("d", "x".repeat(60_000))],
    ["in one message of gigabytes", pgMessage("d", "", 2 ** 31 - 1), Buffer.alloc(60_000, "x")],
  ])("a row that is too long, %s, fails its tenant and takes no memory", async (_, first, rest) => {
    const server = await startPostgres(
      copying((socket) => {
        socket.write(first);
        flood(socket, rest);
      }),
    );
    const [, failure] = await readAll(await open("PostgreSQL", server, long));
    expect(failure).toMatchObject({ message: tooLong, sqlstate: "54000" });
    expect(server.bytesSent()).toBeLessThan(underWay);
  });
});

describe("MySQL sources", () => {
  const rowsThen =
    (then: (socket: Socket) => void): OnQuery =>
    (socket) => {
      socket.write(Buffer.concat([mysqlColumns(), mysqlPacket(4, Buffer.from("\x03one"))]));
      then(socket);
    };

  test("that never greet are refused", async () => {
    const server = await startMysql(() => undefined, false);
    await expect(open("MySQL", server, short)).rejects.toThrow("cannot connect to the source: connect ETIMEDOUT");
  });

  test.each<[what: string, answer: (socket: Socket) => void, message: RegExp]>([
    ["nothing", () => undefined, /no whole row or answer came from it within 0.3 s/],
    ["packets in no order", (socket) => socket.write(mysqlPacket(77, Buffer.from([0, 0, 0]))), /it broke its protocol/],
    ["columns without end", (socket) => flood(socket, mysqlPacket(1, Buffer.alloc(2 ** 20, 1))), /./],
  ])("that answer a question with %s are cut off", async (_, answer, message) => {
    const server = await startMysql(answer);
    const source = await open("MySQL", server, short);
    await expect(source.query("SELECT 1")).rejects.toThrow(message);
    await source.close();
  });

  test("that stop after one row are lost", async () => {
    const server = await startMysql(rowsThen(() => undefined));
    expect((await readAll(await open("MySQL", server, short)))[1]).toMatchObject({ name: "SourceLost", message: stalled });
  });

  test("a value beyond its row ends the connection, not the process", async () => {
    const server = await startMysql(rowsThen((socket) => socket.write(mysqlPacket(5, Buffer.from([254, 255, 255, 255, 255, 255, 255, 31, 0])))));
    expect((await readAll(await open("MySQL", server, short)))[1].name).toBe("SourceLost");
  });

  test("a row of packets without end fails its tenant and takes no more memory than one", async () => {
    const full = Buffer.alloc(2 ** 24 - 1, 0x20);
    const server = await startMysql(
      rowsThen((socket) => {
        let sequence = 5;
        const more = () => {
          if (socket.destroyed) return;
          socket.write(mysqlPacket(sequence++ % 256, full), more);
        };
        more();
      }),
    );
    const [, failure] = await readAll(await open("MySQL", server, long));
    expect(failure).toMatchObject({ message: tooLong, sqlstate: "54000" });
    expect(server.bytesSent()).toBeLessThan(4 * underWay);
  });

  test("many rows are read ahead by their bytes", async () => {
    const row = mysqlPacket(5, Buffer.concat([Buffer.from([0xfd, 0, 0, 0x08]), Buffer.alloc(0x080000, 0x61)]));
    const server = await startMysql((socket) => {
      socket.write(mysqlColumns());
      let sequence = 4;
      const more = () => {
        if (socket.destroyed) return;
        const next = Buffer.from(row);
        next[3] = sequence++ % 256;
        socket.write(next, more);
      };
      more();
    });
    const source = await open("MySQL", server, long);
    const reader = await source.openReader();
    const chunks = reader.readRows("accounts", [{ name: "c", as: "text" }], undefined)[Symbol.asyncIterator]();
    await chunks.next();
    const before = server.bytesSent();
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve)); // nobody reads: the source is held back
    expect(server.bytesSent() - before).toBeLessThan(underWay);
    await reader.close();
    await source.close();
  });
});

describe("sources of a schema", () => {
  const rules = { allowPrivate: false, allow: ["127.0.0.1"] };
  const from = (type: "PostgreSQL" | "MySQL", { port }: HostileSource) =>
    readForeignSchema({ type, host: "127.0.0.1", port, user: "u", password: "p", database: "d", tls: "off" }, rules);

  test("that lie are cut off too", async () => {
    const postgres = await startPostgres((socket) => socket.write(pgMessage("T", Buffer.from([0x7f, 0xff]))));
    await expect(from("PostgreSQL", postgres)).rejects.toMatchObject({
      kind: "bad_request",
      message: expect.stringMatching(/it broke its protocol/),
    });
    const mysql = await startMysql((socket) => socket.write(mysqlPacket(77, Buffer.from([0, 0, 0]))));
    await expect(from("MySQL", mysql)).rejects.toMatchObject({ kind: "bad_request", message: expect.stringMatching(/it broke its protocol/) });
  });
});
