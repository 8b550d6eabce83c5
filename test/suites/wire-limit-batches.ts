/**
 * Batches of messages for row limits, and what their answers may be: rows say themselves whether a statement that reads or one that writes has
 * sent them, so what is seen tells whether a limit was lifted or a write cut.
 */
import * as wire from "../e2e/support/wire.ts";
import type { Prng } from "../engines/postgres/support/prng.ts";

export const limit = 2;
export const read = "SELECT 'r' FROM generate_series(1, 4)";
const readFew = "SELECT 'r'";
const write = "UPDATE accounts SET balance = balance RETURNING 'w'";
const names = ["", "a", "b"];

type Op = "parse" | "bind" | "describe" | "close" | "execute" | "query" | "sync";
export type Step = readonly [op: Op, text: string, bytes: Buffer];

function parseStep(random: Prng): Step {
  const name = random.pick(names);
  const sql = random.pick([read, read, write, write, readFew, "EXECUTE a", "EXECUTE b", "nonsense"]);
  return ["parse", `${name} ${sql}`, wire.parse(name, sql)];
}

const portalOf = (random: Prng) => random.pick(["", "", "p", "q"]);

const makers: readonly ((random: Prng) => Step)[] = [
  parseStep,
  (random) => {
    const [portal, statement] = [portalOf(random), random.pick(names)];
    return ["bind", `${portal}=${statement}`, wire.bind(portal, statement)];
  },
  (random) => {
    const [portal, rows] = [portalOf(random), random.pick([0, 0, 1, 2])];
    return ["execute", portal, wire.execute(portal, rows)];
  },
  (random) => {
    const [portal, statement] = [portalOf(random), random.pick(names)];
    return random.chance(0.5)
      ? (["close", `portal ${portal}`, wire.closePortal(portal)] as const)
      : (["close", `statement ${statement}`, wire.closeStatement(statement)] as const);
  },
  (random) => ["describe", "", random.chance(0.5) ? wire.describePortal(portalOf(random)) : wire.describeStatement(random.pick(names))],
  (random) => {
    const sql = random.pick([
      ...["BEGIN", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s"],
      ...[`PREPARE a AS ${read}`, `PREPARE a AS ${write}`, `PREPARE "b" AS ${write}`, "DEALLOCATE a", "DEALLOCATE PREPARE b", "DEALLOCATE ALL"],
      ...["EXECUTE a", "EXECUTE /* */ B", `DECLARE p CURSOR FOR ${read}`, `DECLARE q CURSOR WITH HOLD FOR ${read}`, "CLOSE p", "CLOSE ALL"],
      ...[read, write, `${read}; ${write}`, `${write}; ${read}`, `DEALLOCATE a; PREPARE a AS ${read}; EXECUTE a`],
    ]);
    return ["query", sql, wire.query(sql)];
  },
];

const syncStep: Step = ["sync", "", wire.sync];

/** A batch up to its Sync: often the four messages in their usual order, on names that others use too. */
export function makeBatch(random: Prng): Step[] {
  const steps: Step[] = [];
  for (let left = 1 + random.int(5); left > 0; left--) {
    if (random.chance(0.6)) {
      const [name, portal] = [random.pick(names), portalOf(random)];
      if (random.chance(0.7)) steps.push(["parse", name, wire.parse(name, random.pick([read, write, readFew]))]);
      if (random.chance(0.9)) steps.push(["bind", `${portal}=${name}`, wire.bind(portal, name)]);
      steps.push(["execute", portal, wire.execute(portal, random.pick([0, 0, 0, 1, 3]))]);
    } else {
      const step = random.pick(makers)(random);
      // PostgreSQL itself answers a later message with XX000 where a Query stood inside an unfinished pipeline.
      if (step[0] === "query") steps.push(syncStep);
      steps.push(step);
    }
  }
  return [...steps, syncStep];
}

export interface Seen {
  limited: number;
  written: number;
}

/** Goes through the answers with the messages they belong to. @returns what is wrong with them */
export function judge(steps: readonly Step[], answers: readonly wire.Message[], seen: Seen): string | undefined {
  let at = 0;
  let rows = "";
  let source = "";
  /** A statement's rows that were too many to be read, unless something behind it writes. */
  let suspect: string | undefined;
  const next = (op: Op) => {
    while (at < steps.length && steps[at]?.[0] !== op) at++;
    at++;
  };
  for (const message of answers) {
    const [op, text = ""] = steps[at] ?? [];
    if (message.type === "D") {
      const from = op === "execute" ? `portal ${text}` : "query";
      if (from !== source) rows = "";
      source = from;
      rows += message.body.toString("latin1").at(-1);
      if (rows.includes("w")) suspect = undefined;
    } else if (message.type === "E") {
      const { C: code } = wire.fieldsOf(message);
      if (code === "54000" && (rows.includes("w") || rows.length < limit)) return `a write was cut, or a read too early: ${rows}`;
      if (code === "54000") seen.limited++;
      rows = "";
      suspect = undefined;
      if (op !== "query" && op !== "sync") next("sync");
      if (op !== "query" && op !== "sync") at--;
    } else if (message.type === "C" || message.type === "s") {
      if (rows.length > limit && !rows.includes("w")) suspect ??= `a limit was lifted: ${rows}`;
      if (rows.includes("w")) seen.written++;
      if (message.type === "C") rows = "";
      if (op === "execute") at++;
    } else if (message.type === "Z") {
      if (suspect && op === "sync") return suspect;
      if (suspect && steps.slice(at + 1).every(([each]) => each === "sync")) return suspect;
      rows = "";
      at++;
    } else if (message.type === "1" || message.type === "2" || message.type === "3") {
      if (message.type === "2") rows = "";
      at++;
    } else if ((message.type === "T" || message.type === "n") && op === "describe") at++;
  }
  return undefined;
}
