/** Row limits and query timeouts: kept by the gateway, told as errors, the session usable afterwards. */
import { serialize } from "pg-protocol";
import { describe, expect, it } from "vitest";
import { int16, message, reply, settle } from "./support/wire.ts";
import { World } from "./support/world.ts";

const rows = (count: number) => Array.from({ length: count }, (_, i) => reply.row(String(i)));
const cancelled = reply.error("57014", "canceling statement due to user request");
const tooMany = (limit: number) => ({ severity: "ERROR", sqlstate: "54000", message: `query exceeded max_rows_per_query (${limit})` });
const count = (types: string, letter: string) => types.split(letter).length - 1;

/** A limited client whose backend says only what the test says; a cancel ends its statement unless `ends` is off. */
async function limited(limit: number, settings = {}) {
  const world = await World.create();
  const { client, backend } = await world.pair({ max_rows_per_query: limit, ...settings });
  backend.isSilent = true;
  const play = async (...messages: Uint8Array[]) => {
    backend.send(...messages);
    await settle();
  };
  return { world, client, backend, play };
}

describe("row limit", () => {
  it("lets exactly N rows through", async () => {
    const { world, client, play } = await limited(3);
    await client.say(serialize.query("select 1"));
    await play(reply.rowDescription(), ...rows(3), reply.complete("SELECT 3"), reply.ready());
    expect(client.types).toBe("TDDDCZ");
    expect(world.server.cancels).toEqual([]);
  });

  it("refuses at row N + 1, cancels, and swallows what still comes", async () => {
    const { world, client, backend, play } = await limited(3);
    await client.say(serialize.query("select 1"));
    await play(reply.rowDescription(), ...rows(4));
    expect(world.server.cancels.map((cancel) => cancel.pid)).toEqual([backend.pid]);
    await play(...rows(100), cancelled, reply.ready());
    expect(client.types).toBe("TDDDEZ");
    expect(client.error).toMatchObject(tooMany(3));
    await client.say(serialize.query("select 2"));
    await play(reply.rowDescription(), ...rows(3), reply.complete("SELECT 3"), reply.ready());
    expect(client.types).toBe("TDDDEZTDDDCZ");
  });

  it("counts each statement of a Query for itself, and exempts those that write", async () => {
    const { client, play } = await limited(2);
    await client.say(serialize.query("select 1; insert into t select 1 returning x; select 2"));
    await play(
      ...rows(2),
      reply.complete("SELECT 2"),
      ...rows(9),
      reply.complete("INSERT 0 9"),
      ...rows(2),
      reply.complete("SELECT 2"),
      reply.ready(),
    );
    expect(client.types).toBe("DDCDDDDDDDDDCDDCZ");
    await client.say(serialize.query("insert into t select 1 returning x; select 2"));
    await play(...rows(9), reply.complete("INSERT 0 9"), ...rows(3), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(2));
  });

  it.each([
    "select * from t for update",
    "select 1 as delete",
    "with update as (select 1) select * from t",
    "with x as (insert into t values (1)) select * from t",
  ])("does not take %j for a write", async (sql) => {
    const { client, play } = await limited(1);
    await client.say(serialize.query(sql));
    await play(...rows(2), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(1));
  });

  it("counts on through a portal that is fetched in parts", async () => {
    const { client, play } = await limited(3);
    await client.say(serialize.parse({ text: "select 1" }), serialize.bind(), serialize.execute({ rows: 2 }), serialize.flush());
    await play(reply.parseComplete, reply.bindComplete, ...rows(2), reply.suspended);
    await client.say(serialize.execute({ rows: 2 }), serialize.sync());
    await play(...rows(2), cancelled, reply.ready());
    expect(client.types).toBe("12DDsDEZ");
    expect(client.error).toMatchObject(tooMany(3));
  });

  it("exempts a prepared INSERT … RETURNING and counts again for the next statement", async () => {
    const { client, play } = await limited(1);
    await client.say(serialize.parse({ name: "w", text: "insert into t values ($1) returning x" }), serialize.parse({ name: "r", text: "select 1" }));
    await client.say(serialize.bind({ statement: "w", portal: "p" }), serialize.execute({ portal: "p" }), serialize.sync());
    await play(reply.parseComplete, reply.parseComplete, reply.bindComplete, ...rows(5), reply.complete("INSERT 0 5"), reply.ready());
    expect(count(client.types, "D")).toBe(5);
    await client.say(serialize.bind({ statement: "r" }), serialize.execute(), serialize.sync());
    await play(reply.bindComplete, ...rows(2), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(1));
  });

  it.each([
    ["a read stays one", "select 1", "insert into t values (1) returning x"],
    ["a write stays one", "insert into t values (1) returning x", "select 1"],
  ])("goes by the statement there is where another Parse of its name fails: %s", async (_, first, second) => {
    const { client, play } = await limited(1);
    await client.say(serialize.parse({ name: "s", text: first }), serialize.sync(), serialize.parse({ name: "s", text: second }), serialize.sync());
    await play(reply.parseComplete, reply.ready(), reply.error("42P05", "exists"), reply.ready());
    await client.say(serialize.bind({ statement: "s" }), serialize.execute(), serialize.sync());
    const ends = first.startsWith("select") ? [cancelled] : [reply.complete("INSERT 0 2")];
    await play(reply.bindComplete, ...rows(2), ...ends, reply.ready());
    expect(client.types).toBe(first.startsWith("select") ? "1ZEZ2DEZ" : "1ZEZ2DDCZ");
  });

  it("knows a portal by its name although its parameters are too large to be read", async () => {
    const { client, play } = await limited(1);
    await client.say(serialize.parse({ name: "r", text: "select 1" }), serialize.parse({ name: "w", text: "insert into t values (1) returning x" }));
    await client.say(serialize.bind({ statement: "r" }), serialize.execute(), serialize.sync());
    await play(reply.parseComplete, reply.parseComplete, reply.bindComplete, ...rows(1), reply.complete("SELECT 1"), reply.ready());
    await client.say(serialize.bind({ statement: "w", values: ["x".repeat(100_000)] }), serialize.execute(), serialize.sync());
    await play(reply.bindComplete, ...rows(5), reply.complete("INSERT 0 5"), reply.ready());
    expect(count(client.types, "E")).toBe(0);
  });

  it("goes by what SQL prepared, declared and executed by name", async () => {
    const { client, play } = await limited(1);
    const write = "insert into t values (1) returning x";
    await client.say(serialize.parse({ name: "s", text: write }), serialize.sync());
    await play(reply.parseComplete, reply.ready());
    await client.say(
      serialize.query('deallocate /* */ S; prepare "s" (int) as select 1; prepare "W""" as with a as (select 1), update as (select 2) insert into t'),
    );
    await play(reply.complete("DEALLOCATE"), reply.complete("PREPARE"), reply.complete("PREPARE"), reply.ready());
    await client.say(serialize.query('execute "W"""(1)'));
    await play(...rows(3), reply.complete("INSERT 0 3"), reply.ready());
    expect(count(client.types, "E")).toBe(0);
    await client.say(serialize.bind({ statement: "s" }), serialize.execute(), serialize.sync());
    await play(reply.bindComplete, ...rows(2), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(1));
  });

  it("counts another portal's rows anew when one is left in the middle", async () => {
    const { client, play } = await limited(2);
    const portals = ["p", "q"].flatMap((portal) => [serialize.bind({ portal, statement: "r" }), serialize.execute({ portal, rows: 2 })]);
    await client.say(serialize.parse({ name: "r", text: "select 1" }), ...portals, serialize.execute({ portal: "p" }), serialize.sync());
    const some = [...rows(2), reply.suspended];
    await play(reply.parseComplete, reply.bindComplete, ...some, reply.bindComplete, ...some);
    expect(client.types).toBe("12DDs2DDs");
    await play(...rows(3), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(2));
  });

  it("leaves a transaction open whose next requests are under way when the statement was done before the cancel came", async () => {
    const { client, backend, play } = await limited(1);
    await client.say(serialize.query("begin"), serialize.query("select 1"), serialize.query("select 2"));
    await play(reply.complete("BEGIN"), reply.ready("T"), ...rows(2), reply.complete("SELECT 2"), reply.ready("T"));
    await play(...rows(1), reply.complete("SELECT 1"), reply.ready("T"));
    expect(client.types).toBe("CZDEZDCZ");
    expect(backend.queries).toEqual(["begin", "select 1", "select 2"]);
  });

  it("lets a read pass in a transaction that writes behind it, pipelined", async () => {
    const { client, play } = await limited(1);
    await client.say(serialize.query("begin"), serialize.query("select 1"), serialize.query("insert into t values (1)"), serialize.query("commit"));
    await play(reply.complete("BEGIN"), reply.ready("T"), ...rows(2), reply.complete("SELECT 2"), reply.ready("T"));
    expect(client.types).toBe("CZDDCZ");
  });

  it("does not let a name of more than 63 bytes pass for another statement", async () => {
    const { client, play } = await limited(1);
    const name = "n".repeat(63);
    const parse = (letter: string, sql: string) => message("P", `${name}${letter}\0${sql}\0`, int16(0));
    await client.say(parse("a", "insert into t values (1) returning x"), parse("b", "select 1"));
    await client.say(message("B", `\0${name}a\0`, int16(0), int16(0), int16(0)), serialize.execute(), serialize.sync());
    await play(reply.parseComplete, reply.parseComplete, reply.bindComplete, ...rows(2), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(1));
  });

  it("forgets what it knew of writing statements when one is too large to be read", async () => {
    const { client, play } = await limited(1);
    await client.say(serialize.parse({ text: "insert into t values (1) returning x" }), serialize.sync());
    await play(reply.parseComplete, reply.ready());
    await client.say(serialize.parse({ text: `select '${"x".repeat(70_000)}'` }), serialize.bind(), serialize.execute(), serialize.sync());
    await play(reply.parseComplete, reply.bindComplete, ...rows(2), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(1));
  });

  it("ends the statement at Sync when it was done before the cancel came, in a transaction that then fails", async () => {
    const { client, backend, play } = await limited(1);
    await client.say(serialize.query("select 1"));
    await play(...rows(3), reply.complete("SELECT 3"), reply.ready("T"));
    expect(backend.queries[1]).toMatch(/RAISE EXCEPTION/);
    expect(count(client.types, "Z")).toBe(0);
    await play(reply.error("54000", "query exceeded max_rows_per_query (1)"), reply.ready("E"));
    expect(client.types).toBe("DEZ");
    expect(client.frames.at(-1)!.body.toString()).toBe("E");
    expect(client.error).toMatchObject(tooMany(1));
  });

  it("goes on behind a Flush when the statement was done before the cancel came", async () => {
    const { client, backend, play } = await limited(1);
    await client.say(serialize.parse({ text: "select 1" }), serialize.bind(), serialize.execute(), serialize.flush());
    await play(reply.parseComplete, reply.bindComplete, ...rows(2), reply.complete("SELECT 2"));
    expect(client.types).toBe("12DE");
    await client.say(serialize.sync());
    expect(backend.types).toMatch(/S$/);
    await play(reply.ready());
    expect(client.types).toBe("12DEZ");
  });

  it("holds back what the client sends until the cancel request has arrived", async () => {
    const { world, client, backend, play } = await limited(1);
    world.server.holdCancels = true;
    await client.say(serialize.query("select 1"));
    await play(...rows(2), cancelled, reply.ready());
    await client.say(serialize.query("select 2"));
    expect(backend.queries).toEqual(["select 1"]);
    world.server.finishCancels();
    await settle();
    expect(backend.queries).toEqual(["select 1", "select 2"]);
  });

  it("counts the rows of COPY TO, the binary trailer not among them", async () => {
    for (const binary of [false, true]) {
      const { client, play } = await limited(2, { allow_copy: true });
      const row = () => reply.copyData("a\n");
      const trailer = binary ? [reply.copyData(Uint8Array.of(255, 255))] : [];
      const wide = () => (binary ? reply.copyData(Uint8Array.of(0, 1, 0, 0, 0, 0)) : row());
      await client.say(serialize.query("copy t to stdout"));
      await play(reply.copyOut(binary), wide(), wide(), ...trailer, reply.copyDone, reply.complete("COPY 2"), reply.ready());
      expect(client.types).toMatch(/cCZ$/);
      await client.say(serialize.query("copy t to stdout"));
      await play(reply.copyOut(binary), wide(), wide(), wide(), ...trailer, cancelled, reply.ready());
      expect(client.error).toMatchObject(tooMany(2));
      expect(client.types).toMatch(/HddEZ$/);
    }
  });

  it("follows a change on an open connection", async () => {
    const { world, client, play } = await limited(0);
    world.set("myapp__wayne", { max_rows_per_query: 2 });
    world.routes.announce({ projectId: "tdb_2abf90d3", workspaceId: "ws_myapp" });
    await settle();
    await client.say(serialize.query("select 1"));
    await play(...rows(3), cancelled, reply.ready());
    expect(client.error).toMatchObject(tooMany(2));
  });

  it("closes both sides when a cancelled statement goes on for ever", async () => {
    const { world, client, play } = await limited(1);
    await client.say(serialize.query("select 1"));
    await play(...rows(2));
    world.clock.advance(5100);
    await settle();
    expect(client.error).toMatchObject({ ...tooMany(1), severity: "FATAL" });
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });
});

describe("query timeout", () => {
  const slow = { severity: "ERROR", sqlstate: "57014", message: "query exceeded query_timeout_ms (1000)" };

  it.each([
    ["a Query", [serialize.query("select pg_sleep(9)")], [reply.ready()], "EZ"],
    [
      "an Execute with Sync",
      [serialize.parse({ text: "select pg_sleep(9)" }), serialize.bind(), serialize.execute(), serialize.sync()],
      [reply.ready()],
      "EZ",
    ],
    ["an Execute with Flush", [serialize.parse({ text: "select pg_sleep(9)" }), serialize.bind(), serialize.execute(), serialize.flush()], [], "E"],
  ])("cancels %s and says why", async (_, messages, rest, types) => {
    const { world, client, play } = await limited(0, { query_timeout_ms: 1000 });
    await client.say(...messages);
    world.clock.advance(1000);
    expect(world.server.cancels).toEqual([]);
    world.clock.advance(100);
    await settle();
    expect(world.server.cancels).toHaveLength(1);
    await play(cancelled, ...rest);
    expect(client.types).toBe(types);
    expect(client.error).toMatchObject(slow);
    world.clock.advance(20_000);
    await settle();
    expect(client.isClosed).toBe(false);
  });

  it("measures each statement of a pipeline for itself", async () => {
    const { world, client, play } = await limited(0, { query_timeout_ms: 1000 });
    await client.say(serialize.query("select 1"), serialize.query("select 2"));
    world.clock.advance(800);
    await play(reply.complete("SELECT 1"), reply.ready());
    world.clock.advance(800);
    await settle();
    expect(world.server.cancels).toEqual([]);
    world.clock.advance(300);
    await settle();
    expect(world.server.cancels).toHaveLength(1);
  });

  it("leaves alone a client that thinks between two Flushes", async () => {
    const { world, client, play } = await limited(0, { query_timeout_ms: 1000 });
    await client.say(serialize.parse({ text: "select 1" }), serialize.bind(), serialize.execute(), serialize.flush());
    await play(reply.parseComplete, reply.bindComplete, reply.complete("SELECT 1"));
    world.clock.advance(60_000);
    await settle();
    expect(world.server.cancels).toEqual([]);
    expect(client.isClosed).toBe(false);
  });

  it("keeps the next statement away from a cancel request that comes late", async () => {
    const { world, client, backend, play } = await limited(0, { query_timeout_ms: 1000 });
    world.server.holdCancels = true;
    await client.say(serialize.query("select 1"));
    world.clock.advance(1100);
    await settle();
    await play(reply.complete("SELECT 1"), reply.ready());
    await client.say(serialize.query("select 2"));
    expect(backend.queries).toEqual(["select 1"]);
    world.server.finishCancels();
    await settle();
    expect(backend.queries).toEqual(["select 1", "select 2"]);
  });

  it("closes both sides when the cancel does not help", async () => {
    const { world, client } = await limited(0, { query_timeout_ms: 1000 });
    await client.say(serialize.query("select 1"));
    world.clock.advance(7000);
    await settle();
    expect(client.error).toMatchObject({ ...slow, severity: "FATAL" });
    expect(client.isClosed).toBe(true);
    expect(world.pool.counts()).toEqual({ open: 0, idle: 0, waiting: 0 });
  });
});
