/** A client that does whatever leaves something behind in a session, and asks for what should be there. Knows as much as it takes not to lock itself out. */
import {
  bind,
  closeStatement,
  describePortal,
  describeStatement,
  execute,
  flush,
  type Message,
  parse,
  query,
  statement,
  sync,
} from "../e2e/support/wire.ts";
import type { Prng } from "../engines/postgres/support/prng.ts";

export interface Step {
  readonly text: string;
  readonly bytes: Buffer;
  /** How many ReadyForQuery come. */
  readonly answers: number;
}

/** One client may be in a transaction and one keep its backend, so that a third backend is left for all others. */
export interface Busy {
  inTransaction: SharingClient | undefined;
  pinned: SharingClient | undefined;
}

// A setting of one's own that was ever set in a session is empty there afterwards, and not known at all in others: hence the COALESCE.
const names = ["s1", "s2", "S3", "_pg3_0"];
const texts = [
  "SELECT $1::text AS a",
  "SELECT $1::int + 1 AS b, COALESCE(current_setting('app.a', true), '') AS c",
  "SELECT count(*) FROM accounts WHERE name = $1",
];
const shows = ["app.a", "app.b", "statement_timeout", "search_path", "DateStyle", "TimeZone", "application_name", "default_transaction_read_only"];

const keeping = [
  "LISTEN news",
  "UNLISTEN *",
  "CREATE TEMP TABLE tmp AS SELECT 1 AS one",
  "DROP TABLE tmp",
  "SELECT pg_try_advisory_lock_shared(42)",
  "SELECT pg_advisory_unlock_all()",
  "PREPARE own AS SELECT 'own'",
  "EXECUTE own",
  "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
  "FETCH held",
  "CLOSE ALL",
  "DISCARD TEMP",
  "DISCARD ALL",
  "DISCARD ALL",
  "DISCARD ALL",
  "SET app.a = 'back\\slash'",
];

export class SharingClient {
  readonly #random: Prng;
  readonly #busy: Busy;
  #status = "I";

  constructor(random: Prng, busy: Busy) {
    this.#random = random;
    this.#busy = busy;
  }

  next(): Step {
    const random = this.#random;
    const roll = random.int(100);
    if (roll < 22) return simple(this.#ask());
    if (roll < 40) return simple(this.#set());
    if (roll < 75) return this.#extended();
    if (roll < 90) return simple(this.#transaction());
    return simple(this.#pin());
  }

  /** What PostgreSQL said. */
  note(messages: readonly Message[]): void {
    this.#status = String.fromCharCode(messages.at(-1)!.body[0]!);
    const busy = this.#busy;
    if (this.#status === "I" && busy.inTransaction === this) busy.inTransaction = undefined;
    if (messages.some(({ type, body }) => type === "C" && body.toString() === "DISCARD ALL\0") && busy.pinned === this) busy.pinned = undefined;
  }

  #ask(): string {
    const random = this.#random;
    switch (random.int(6)) {
      case 0:
        return "SELECT 1/0";
      case 1:
        return "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
      case 2:
        return "SELECT name FROM pg_cursors ORDER BY 1; SELECT * FROM pg_listening_channels() ORDER BY 1";
      case 3:
        return "SELECT * FROM pg_temp.tmp";
      case 4:
        return "SELECT now() IS NOT NULL, '2026-11-29 12:00'::timestamptz";
      default:
        return `SELECT COALESCE(current_setting('${random.pick(shows)}', true), '')`;
    }
  }

  #set(): string {
    const random = this.#random;
    const value = random.int(9) + 1;
    return random.pick([
      `SET app.a = 'v${value}'`,
      `SET "app.b" TO E'x${value}'`,
      `SET SESSION statement_timeout = '${value}min'`,
      `set search_path to s${value}, public;`,
      `SET TIME ZONE 'Etc/GMT+${value}'`,
      "SET DateStyle = 'German'",
      `SELECT set_config('app.a', 'c${value}', false)`,
      `SELECT set_config('app.a', 'l${value}', true)`,
      `SET LOCAL app.a = 'local${value}'`,
      `SET application_name = 'named ${value}'`,
      "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
      "RESET app.a",
      "RESET DateStyle",
      "RESET application_name",
      "RESET search_path",
      "RESET ALL",
      `SET app.a = 'm${value}'; SET app.b = 'm${value}'`,
      "SET no.such = 1; SELECT 1/0",
      `SET nonsense_${value} = 1`,
    ]);
  }

  #transaction(): string {
    if (this.#status === "I") {
      const busy = this.#busy;
      if (busy.inTransaction) return "SELECT 'no transaction now'";
      busy.inTransaction = this;
      return this.#random.pick(["BEGIN", "START TRANSACTION READ WRITE", "BEGIN; SET LOCAL app.b = 'in'"]);
    }
    // Which settings such a one takes back cannot be told, so that it keeps a backend.
    if (this.#random.chance(0.3)) return this.#pin(["ROLLBACK TO a", "ROLLBACK AND CHAIN", "COMMIT AND CHAIN"]);
    return this.#random.pick(["COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "COMMIT", "ROLLBACK"]);
  }

  /** What keeps a backend: only where nobody else keeps one. */
  #pin(texts: readonly string[] = keeping): string {
    const busy = this.#busy;
    if (busy.pinned && busy.pinned !== this) return "SELECT 'nothing to keep'";
    busy.pinned = this;
    return this.#random.pick(texts);
  }

  #extended(): Step {
    const random = this.#random;
    const name = random.pick(names);
    const text = random.pick(texts);
    const value = String(random.int(5));
    switch (random.int(14)) {
      case 0:
        return step(`Parse ${name}`, 1, parse(name, text), sync);
      case 1:
        return step(`Parse, Describe ${name}`, 1, parse(name, text), describeStatement(name), sync);
      case 2:
      case 3:
      case 4:
        return step(`Bind ${name}`, 1, bind("", name, [value]), describePortal(), execute(), sync);
      case 5:
        return step(`Bind ${name} twice, a failure between`, 2, bind("", name, [value]), execute(), sync, bind("", name, ["x"]), execute(), sync);
      case 6:
        return step(`Describe ${name}`, 1, describeStatement(name), sync);
      case 7:
        return step(`Close ${name}`, 1, closeStatement(name), sync);
      case 8:
        return step("Parse unnamed", 1, parse("", text), sync);
      case 9:
        return step("Bind unnamed", 1, bind("", "", [value]), execute(), sync);
      case 10:
        return step("one-shot", 1, statement(text, [value]), sync);
      case 11:
        // In a failed transaction a statement cannot be prepared again, and that is what is told then.
        if (this.#status === "E") return simple("SELECT 'failed'");
        return step(
          "errors",
          2,
          parse(name, "SELEC"),
          bind("", name, [value]),
          sync,
          parse("", "SELECT 1/0"),
          bind("", ""),
          execute(),
          parse(name, text),
          sync,
        );
      case 12:
        return random.chance(0.3) ? simple("DEALLOCATE ALL") : simple(random.pick([`DEALLOCATE "${name}"`, `EXECUTE "${name}"('${value}')`]));
      default:
        return step(
          `pipeline with ${name}`,
          2,
          ...[closeStatement(name), parse(name, text), bind("", name, [value]), execute(), flush, closeStatement(name), parse(name, text)],
          ...[sync, parse("", `SET app.a = 'p${value}'`), bind("", ""), execute(), sync],
        );
    }
  }
}

function simple(sql: string): Step {
  return { text: sql, bytes: query(sql), answers: 1 };
}

function step(text: string, answers: number, ...parts: readonly Buffer[]): Step {
  return { text, bytes: Buffer.concat(parts), answers };
}
