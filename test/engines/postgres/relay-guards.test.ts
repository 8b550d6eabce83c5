/** What the relay refuses: DDL on tenants and COPY, in either protocol, leaving the session as PostgreSQL would. */
import { serialize } from "pg-protocol";
import { describe, expect, it } from "vitest";
import { type Frame, reply, settle } from "./support/wire.ts";
import { World } from "./support/world.ts";

const ddl = { severity: "ERROR", sqlstate: "42501", message: "DDL not allowed on tenant databases, use workspace mode" };
const copy = {
  severity: "ERROR",
  sqlstate: "0A000",
  message: "COPY protocol is not supported through the proxy. Use the import endpoint or INSERT statements instead.",
};

/** A server that raises what our replaced statements raise, and treats a message to skip as PostgreSQL does. */
function raising() {
  let skipping = false;
  return (frame: Frame): Uint8Array[] | undefined => {
    if (frame.type === "S") skipping = false;
    else if (skipping) return [];
    const raised = /ERRCODE = '(\w+)', MESSAGE = '([^']+)'/.exec(frame.body.toString("utf8"));
    if (!raised || (frame.type !== "Q" && frame.type !== "P")) return undefined;
    skipping = frame.type === "P";
    const error = reply.error(raised[1]!, raised[2]!);
    return frame.type === "Q" ? [error, reply.ready()] : [error];
  };
}

describe("DDL guard", () => {
  it.each([
    "create schema x",
    "/*/**/*/ CREATE/**/ROLE x",
    ";;create extension x",
    "select 1; grant select on t to public",
    "-- c\nDROP\tDATABASE x",
  ])("replaces %j by a statement that fails on the backend itself", async (sql) => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    world.server.answer = raising();
    await client.say(serialize.query(sql), serialize.query("select 1"));
    expect(client.types).toBe("EZCZ");
    expect(client.error).toMatchObject(ddl);
    expect(client.error?.hint).toContain("tdb deployments create");
    expect(backend.queries[0]).toMatch(/^DO \$tdb\$BEGIN RAISE EXCEPTION/);
    expect(backend.received.includes(sql)).toBe(false);
  });

  it("replaces it inside Parse, keeping the statement's name and parameter types, and skips to Sync", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    world.server.answer = raising();
    await client.say(
      serialize.parse({ name: "s1", text: "create schema x", types: [23, 25] }),
      serialize.bind({ statement: "s1" }),
      serialize.execute(),
      serialize.sync(),
      serialize.query("select 1"),
    );
    expect(client.types).toBe("EZCZ");
    expect(client.error).toMatchObject(ddl);
    const body = backend.frames[0]!.body;
    expect(body.subarray(0, 6).toString()).toBe("s1\0DO ");
    expect(body.subarray(-11)).toEqual(Buffer.from([0, 0, 2, 0, 0, 0, 23, 0, 0, 0, 25]));
  });

  it.each([
    ["simple", [serialize.query("create table x()")]],
    ["extended", [serialize.parse({ text: "create table x()" }), serialize.bind(), serialize.execute(), serialize.sync()]],
  ])("gives the product's message where the database refuses what the text left open (%s)", async (_, messages) => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(...messages);
    backend.send(reply.error("42501", "permission denied for schema public"), reply.ready());
    await settle();
    expect(client.types).toBe("EZ");
    expect(client.error).toMatchObject(ddl);
  });

  it("remembers a named statement that may be DDL until it is executed", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    await client.say(serialize.parse({ name: "s1", text: "alter table x add y int" }), serialize.sync());
    await client.say(serialize.query("select 1"));
    client.clear();
    backend.isSilent = true;
    await client.say(serialize.bind({ statement: "s1" }), serialize.execute(), serialize.sync());
    backend.send(reply.bindComplete, reply.error("42501", "must be owner of table x"), reply.ready());
    await settle();
    expect(client.error).toMatchObject(ddl);
  });

  it("knows DDL inside a DO block or function by the error's context, and nothing else by it", async () => {
    const frame = "PL/pgSQL function inline_code_block line 1 at SQL statement";
    for (const [statement, expected] of [
      ["CREATE TABLE x (name text DEFAULT 'a \"quoted\" word')", ddl.message],
      ["DROP SCHEMA tdb", ddl.message],
      ["SELECT * FROM tdb.applied", "permission denied for schema tdb"],
    ] as const) {
      const world = await World.create();
      const { client, backend } = await world.pair();
      backend.isSilent = true;
      await client.say(serialize.query("DO $$ … $$"));
      const text = "permission denied for schema tdb";
      backend.send(reply.error("42501", text, "ERROR", `SQL statement "${statement}"\n${frame}`), reply.ready());
      await settle();
      expect(client.error?.message).toBe(expected);
    }
  });

  it("leaves PostgreSQL's own words where no DDL was sent", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(serialize.query("select * from accounts"));
    const words = reply.error("42501", "permission denied for table accounts");
    backend.send(words, reply.ready());
    await settle();
    expect(client.received).toEqual(Buffer.concat([words, reply.ready()]));
  });

  it("rewords what an event trigger raises inside a DO block", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(serialize.query("do $$begin execute 'create table x()'; end$$"));
    backend.send(reply.error("42501", ddl.message), reply.ready("E"));
    await settle();
    expect(client.error).toMatchObject(ddl);
    expect(client.frames[1]!.body.toString()).toBe("E");
  });

  it("lets DDL pass in a workspace, and temporary tables on a tenant", async () => {
    const world = await World.create();
    const workspace = await world.pair({}, "myapp_workspace", "workspace-pw");
    await workspace.client.say(serialize.query("create schema x"));
    expect(workspace.backend.queries).toEqual(["create schema x"]);
    const { client, backend } = await world.pair();
    await client.say(serialize.query("create temp table x()"));
    expect(backend.queries).toEqual(["create temp table x()"]);
  });
});

describe("COPY guard", () => {
  it.each(["copy t to stdout", "COPY (select 1) TO PROGRAM 'id'", "select 1; copy t from stdin", "/* x */ copy t from stdin"])(
    "replaces %j in a Query and in a Parse",
    async (sql) => {
      const world = await World.create();
      const { client, backend } = await world.pair();
      world.server.answer = raising();
      await client.say(serialize.query(sql), serialize.parse({ text: sql }), serialize.bind(), serialize.execute(), serialize.sync());
      expect(client.types).toBe("EZEZ");
      expect(client.error).toMatchObject(copy);
      expect(backend.received.includes(sql)).toBe(false);
    },
  );

  it("fails a COPY FROM that no text showed, and lets no copy answer through", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(serialize.query("select hidden()"));
    backend.send(reply.copyIn);
    await settle();
    expect(backend.types).toBe("Qf");
    backend.send(reply.error("57014", "COPY from stdin failed: refused"), reply.ready());
    await settle();
    expect(client.types).toBe("EZ");
    expect(client.error).toMatchObject(copy);
    backend.isSilent = false;
    client.clear();
    await client.say(serialize.query("select 1"));
    expect(client.types).toBe("CZ");
  });

  it("sends the Sync again that a backend in copy-in mode has ignored", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(serialize.parse({ text: "select hidden()" }), serialize.bind(), serialize.execute(), serialize.sync());
    backend.send(reply.parseComplete, reply.bindComplete, reply.copyIn);
    await settle();
    expect(backend.types).toBe("PBESfS");
    backend.send(reply.error("57014", "COPY from stdin failed: refused"), reply.ready());
    await settle();
    expect(client.types).toBe("12EZ");
    expect(client.error).toMatchObject(copy);
  });

  it("cancels a COPY TO that no text showed, and lets no row of it through", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair();
    backend.isSilent = true;
    await client.say(serialize.query("select hidden()"));
    backend.send(reply.copyOut(), reply.copyData("secret row\n"), reply.copyData("another\n"));
    await settle();
    expect(world.server.cancels.map((cancel) => cancel.pid)).toEqual([backend.pid]);
    backend.send(reply.copyData("third\n"), reply.error("57014", "canceling statement due to user request"), reply.ready());
    await settle();
    expect(client.types).toBe("EZ");
    expect(client.received.includes("row")).toBe(false);
    expect(client.error).toMatchObject(copy);
  });

  it("passes COPY on in both directions where allow_copy is on", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair({ allow_copy: true });
    backend.isSilent = true;
    await client.say(serialize.query("copy t from stdin"));
    backend.send(reply.copyIn);
    await settle();
    await client.say(Buffer.from(serialize.copyData(Buffer.from("1\n"))), Buffer.from(serialize.copyDone()));
    backend.send(reply.complete("COPY 1"), reply.ready());
    await settle();
    expect([backend.types, client.types]).toEqual(["Qdc", "GCZ"]);
    await client.say(serialize.query("copy t to stdout"));
    backend.send(reply.copyOut(), reply.copyData("1\n"), reply.copyDone, reply.complete("COPY 1"), reply.ready());
    await settle();
    expect(client.types).toBe("GCZHdcCZ");
  });

  it("does not wait for the answer to a Sync that was ignored, nor forget the one behind the data", async () => {
    const world = await World.create();
    const { client, backend } = await world.pair({ allow_copy: true });
    backend.isSilent = true;
    await client.say(serialize.parse({ text: "copy t from stdin" }), serialize.bind(), serialize.execute(), serialize.sync());
    backend.send(reply.parseComplete, reply.bindComplete, reply.copyIn);
    await settle();
    await client.say(Buffer.from(serialize.copyData(Buffer.from("1\n"))));
    client.pipe.pause();
    await client.say(Buffer.from(serialize.copyDone()), serialize.sync());
    backend.send(reply.complete("COPY 1"), reply.ready());
    client.pipe.resume();
    await settle();
    expect(client.types).toBe("12GCZ");
    backend.isSilent = false;
    client.pipe.destroy();
    await settle();
    expect(backend.queries).toEqual(["ROLLBACK", "DISCARD ALL"]); // at rest, therefore reused
  });

  it("never reuses a backend whose client leaves in the middle of copying", async () => {
    for (const messages of [
      [serialize.query("copy t from stdin")],
      [serialize.parse({ text: "copy t from stdin" }), serialize.bind(), serialize.execute(), serialize.sync()],
    ]) {
      const world = await World.create();
      const { client, backend } = await world.pair({ allow_copy: true });
      backend.isSilent = true;
      await client.say(...messages);
      backend.send(reply.copyIn);
      await settle();
      client.pipe.destroy();
      await settle();
      expect(world.server.cancels).toHaveLength(1);
      expect(backend.queries).not.toContain("DISCARD ALL");
      expect(world.pool.counts().open).toBe(0);
    }
  });
});
