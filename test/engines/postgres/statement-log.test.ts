/** Following a session's statements: which text ended with which outcome, through pipelines, errors, portals and chunks cut anywhere. */
import { serialize } from "pg-protocol";
import { describe, expect, it } from "vitest";
import type { EndedStatement } from "../../../core/query-log.ts";
import { endsStatement, StatementLog } from "../../../engines/postgres/statement-log.ts";
import { message, reply } from "./support/wire.ts";

/** A log that is told of whole messages, as the relay does, on a clock moved by hand. */
function makeLog(options: { wantsText?: boolean; parameters?: Record<string, string> } = {}) {
  const told: (Omit<EndedStatement, "text"> & { text: string | undefined; isCut: boolean | undefined })[] = [];
  const state = { nowMs: 1000, closed: 0, wantsText: options.wantsText ?? true };
  const journal = {
    get wantsText() {
      return state.wantsText;
    },
    nowMs: () => state.nowMs,
    ended: (statement: EndedStatement) => {
      const { startedMs, endedMs, rows, bytesReceived, bytesSent, sqlstate, hasText, text, transaction } = statement; // read at once and not kept
      const shown = text && Buffer.from(text.bytes).toString();
      told.push({ startedMs, endedMs, rows, bytesReceived, bytesSent, sqlstate, hasText, transaction, text: shown, isCut: text?.isCut });
    },
    close: () => {
      state.closed++;
    },
  };
  const log = new StatementLog(journal, { parameters: new Map(Object.entries(options.parameters ?? {})) });
  let owed = 0;
  let isUnsynced = false;
  const client = (...messages: Uint8Array[]) => {
    const chunk = Buffer.concat(messages);
    log.chunk(chunk.length);
    for (let at = 0; at < chunk.length; ) {
      const total = chunk.readUInt32BE(at + 1) + 1;
      const type = chunk[at]!;
      if (type === 0x51 || type === 0x53 || type === 0x46) owed++;
      isUnsynced = type !== 0x51 && type !== 0x53 && type !== 0x46;
      log.client(type, chunk, at + 5, at + total, true);
      at += total;
    }
  };
  const backend = (...messages: Uint8Array[]) => {
    const chunk = Buffer.concat(messages);
    let at = 0;
    while (at < chunk.length) {
      const total = chunk.readUInt32BE(at + 1) + 1;
      const type = chunk[at]!;
      if (endsStatement[type] !== 0) log.backend(type, chunk, at + 5, at + total, true);
      if (type === 0x45) log.failed("42601");
      if (type === 0x5a) {
        owed--;
        log.ready(chunk[at + 5]!, owed === 0 && !isUnsynced);
      }
      at += total;
    }
    log.chunkSent(at);
  };
  return { log, told, state, client, backend };
}

const outcome = (told: ReturnType<typeof makeLog>["told"]) => told.map(({ text, rows, sqlstate }) => [text, rows, sqlstate]);
const error = reply.error("42601", "no");

describe("simple queries", () => {
  it("end with ReadyForQuery, their rows and bytes added up over all statements", () => {
    const { told, state, client, backend } = makeLog();
    const query = serialize.query("SELECT 1; INSERT INTO t SELECT 1");
    client(query);
    state.nowMs += 5;
    const answer = [reply.row("x"), reply.complete("SELECT 12"), reply.complete("INSERT 0 3")];
    backend(...answer);
    expect(told).toEqual([]);
    state.nowMs += 2;
    backend(reply.ready());
    expect(told).toMatchObject([{ text: "SELECT 1; INSERT INTO t SELECT 1", rows: 15, startedMs: 1000, endedMs: 1007, bytesReceived: query.length }]);
    expect(told[0]!.bytesSent).toBe(Buffer.concat(answer).length + 6);
  });

  it("take their times from the end of the one before where they are pipelined", () => {
    const { told, state, client, backend } = makeLog();
    client(serialize.query("a"), serialize.query("b"));
    state.nowMs += 10;
    backend(reply.complete("SELECT 1"), reply.ready());
    state.nowMs += 3;
    backend(error, reply.ready());
    expect(told.map(({ startedMs, endedMs, sqlstate }) => [startedMs, endedMs, sqlstate])).toEqual([
      [1000, 1010, undefined],
      [1010, 1013, "42601"],
    ]);
  });

  it("share the number of their transaction", () => {
    const { told, client, backend } = makeLog();
    for (const [text, status] of [
      ["SELECT 1", "I"],
      ["BEGIN", "T"],
      ["SELECT 2", "T"],
      ["nonsense", "E"],
      ["ROLLBACK", "I"],
      ["SELECT 3", "I"],
    ] as const) {
      client(serialize.query(text));
      backend(reply.complete("X"), reply.ready(status));
    }
    expect(told.map(({ transaction }) => transaction)).toEqual([1, 2, 2, 2, 2, 3]);
  });
});

describe("the extended protocol", () => {
  const once = (text: string) => [serialize.parse({ text }), serialize.bind(), serialize.execute(), serialize.sync()];

  it("finds the text of named statements and portals", () => {
    const { told, client, backend } = makeLog();
    client(serialize.parse({ name: "one", text: "SELECT 1" }), serialize.parse({ name: "two", text: "SELECT 2" }), serialize.sync());
    backend(reply.parseComplete, reply.parseComplete, reply.ready());
    expect(told).toEqual([]);
    client(
      serialize.bind({ statement: "two", portal: "p" }),
      serialize.bind({ statement: "one" }),
      serialize.execute(),
      serialize.execute({ portal: "p" }),
    );
    client(serialize.sync());
    backend(reply.bindComplete, reply.bindComplete, reply.complete("SELECT 1"), reply.complete("SELECT 2"), reply.ready());
    expect(outcome(told)).toEqual([
      ["SELECT 1", 1, undefined],
      ["SELECT 2", 2, undefined],
    ]);
    client(serialize.close({ type: "S", name: "one" }), serialize.bind({ statement: "one" }), serialize.execute(), serialize.sync());
    backend(error, reply.ready());
    expect(told.at(-1)).toMatchObject({ text: "", isCut: true, sqlstate: "42601" });
  });

  it("gives an error to the statement that failed, and none to what was skipped behind it", () => {
    const { told, client, backend } = makeLog();
    const pipeline = ["SELECT 1", "SELECT bad", "SELECT 3"].flatMap((text) => once(text).slice(0, 3));
    client(...pipeline, serialize.sync(), ...once("SELECT 4"));
    backend(reply.parseComplete, reply.bindComplete, reply.complete("SELECT 1"), error, reply.ready());
    backend(reply.parseComplete, reply.bindComplete, reply.complete("SELECT 1"), reply.ready());
    expect(outcome(told)).toEqual([
      ["SELECT 1", 1, undefined],
      ["SELECT bad", 0, "42601"],
      ["SELECT 4", 1, undefined],
    ]);
  });

  it("knows the text of a Parse that fails before anything is executed, with Sync or Flush behind it", () => {
    const { told, client, backend } = makeLog();
    client(serialize.parse({ text: "SELEC 1" }), serialize.describe({ type: "S" }), serialize.sync());
    backend(error, reply.ready());
    client(serialize.parse({ text: "SELEC 2" }), serialize.flush());
    backend(error);
    client(serialize.bind(), serialize.execute(), serialize.sync()); // skipped by the backend
    backend(reply.ready());
    client(...once("SELECT 3"));
    backend(reply.parseComplete, reply.bindComplete, reply.complete("SELECT 1"), reply.ready());
    expect(outcome(told)).toEqual([
      ["SELEC 1", 0, "42601"],
      ["SELEC 2", 0, "42601"],
      ["SELECT 3", 1, undefined],
    ]);
  });

  it("tells of an error at the end of a transaction with the last statement's text", () => {
    const { told, client, backend } = makeLog();
    client(...once("INSERT INTO deferred VALUES (1)"));
    backend(reply.parseComplete, reply.bindComplete, reply.complete("INSERT 0 1"), error, reply.ready());
    expect(outcome(told)).toEqual([
      ["INSERT INTO deferred VALUES (1)", 1, undefined],
      ["INSERT INTO deferred VALUES (1)", 0, "42601"],
    ]);
  });

  it("counts a portal fetched in parts by what each part asked for", () => {
    const { told, client, backend } = makeLog();
    client(serialize.parse({ text: "SELECT 1" }), serialize.bind(), serialize.execute({ rows: 50 }), serialize.flush());
    backend(reply.parseComplete, reply.bindComplete, reply.suspended);
    client(serialize.execute({ rows: 50 }), serialize.sync());
    backend(reply.complete("SELECT 7"), reply.ready());
    expect(outcome(told)).toEqual([
      ["SELECT 1", 50, undefined],
      ["SELECT 1", 7, undefined],
    ]);
  });
});

describe("what is kept", () => {
  it("is cut, and says so; a NUL ends a text", () => {
    const { told, client, backend } = makeLog();
    client(serialize.query(`SELECT '${"x".repeat(10_000)}'`));
    backend(reply.complete("SELECT 1"), reply.ready());
    expect(told[0]!.text).toHaveLength(4096);
    expect(told[0]!.isCut).toBe(true);
    client(serialize.query("SELECT 1"));
    backend(reply.complete("SELECT 1"), reply.ready());
    expect(told[1]).toMatchObject({ text: "SELECT 1", isCut: false });
  });

  it("is no text where none is wanted, and counts all the same", () => {
    const { told, client, backend, log } = makeLog({ wantsText: false });
    expect(log.wants(0x51)).toBe(false);
    client(serialize.query("SELECT 1"), serialize.parse({ text: "nonsense" }), serialize.sync());
    backend(reply.complete("SELECT 4"), reply.ready(), error, reply.ready());
    expect(outcome(told)).toEqual([
      [undefined, 4, undefined],
      [undefined, 0, "42601"],
    ]);
  });

  it("knows nothing of a statement prepared before texts were wanted, and says that", () => {
    const { told, state, client, backend } = makeLog({ wantsText: false });
    client(serialize.parse({ name: "early", text: "SELECT 1" }), serialize.sync());
    backend(reply.parseComplete, reply.ready());
    state.wantsText = true;
    client(serialize.bind({ statement: "early" }), serialize.execute(), serialize.sync());
    backend(reply.bindComplete, reply.complete("SELECT 1"), reply.ready());
    expect(told).toMatchObject([{ text: "", isCut: true, rows: 1 }]);
  });

  it("is the same whether it waits in the client's chunk or was copied: many pipelined, one in a large chunk, and one after another", () => {
    const { told, client, backend } = makeLog();
    const texts = Array.from({ length: 200 }, (_, i) => `SELECT ${i}`);
    client(...texts.map((text) => serialize.query(text)));
    backend(...texts.flatMap(() => [reply.complete("SELECT 1"), reply.ready()]));
    client(serialize.query("SELECT 'large'"), serialize.query(`SELECT '${"x".repeat(20_000)}'`));
    backend(reply.complete("SELECT 1"), reply.ready(), error, reply.ready());
    for (const text of texts) {
      client(serialize.query(text));
      backend(reply.complete("SELECT 1"), reply.ready());
    }
    expect(told.map(({ text }) => text?.slice(0, 14))).toEqual([...texts, "SELECT 'large'", "SELECT 'xxxxxx", ...texts]);
    expect(told.filter(({ sqlstate }) => sqlstate !== undefined)).toHaveLength(1);
  });

  it("is bounded: a client that pipelines without end, or names without end, is followed again once it is at rest", () => {
    const { told, client, backend } = makeLog();
    client(...Array.from({ length: 10_001 }, () => serialize.query("SELECT 1")));
    backend(...Array.from({ length: 10_001 }, () => Buffer.concat([reply.complete("SELECT 1"), reply.ready()])));
    expect(told).toEqual([]);
    client(serialize.query("SELECT 2"));
    backend(reply.complete("SELECT 1"), reply.ready());
    expect(outcome(told)).toEqual([["SELECT 2", 1, undefined]]);
    for (let i = 0; i < 400; i++) client(serialize.parse({ name: `s${i}`, text: "y".repeat(4096) }));
    client(serialize.bind({ statement: "s0" }), serialize.execute(), serialize.bind({ statement: "s399" }), serialize.execute(), serialize.sync());
    backend(reply.complete("SELECT 1"), reply.complete("SELECT 1"), reply.ready());
    expect(told.slice(1).map((each) => each.text?.length)).toEqual([4096, 0]);
  });
});

describe("endings", () => {
  it("give what was running the reason the session ended for, once", () => {
    const { log, told, state, client } = makeLog();
    client(serialize.query("SELECT pg_sleep(60)"));
    log.end("57P01");
    expect(outcome(told)).toEqual([["SELECT pg_sleep(60)", 0, "57P01"]]);
    expect(state.closed).toBe(1);
  });

  it("tell of nothing where nothing was running", () => {
    const { log, told, client, backend } = makeLog();
    client(serialize.query("SELECT 1"));
    backend(reply.complete("SELECT 1"), reply.ready());
    log.failed("57P01"); // as an administrator's end of an idle session
    log.end("57P01");
    expect(told).toHaveLength(1);
  });

  it("survives messages that mean nothing", () => {
    const { log, client, backend } = makeLog();
    for (const type of "QPBECSF") client(message(type, "no end"), message(type, ""));
    backend(reply.complete(""), message("C", ""), reply.suspended, error, reply.ready());
    log.end("08P01");
  });
});
