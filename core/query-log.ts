/** The query log between the wire and the store: what one statement came to, what is kept of it, and a buffer that is never waited for. */
import type { Clock } from "./clock.ts";
import type { DatabaseSettings } from "./model.ts";

/** Who runs the statements of one session, and where. */
export interface StatementOrigin {
  readonly projectId: string;
  readonly workspaceId: string;
  /** Undefined in a workspace. */
  readonly tenantId: string | undefined;
  /** The physical database: another one where a tenant was deleted and made again. */
  readonly database: string;
  readonly credentialId: string;
  readonly address: string;
  readonly sessionId: string;
}

/** Longest text that is kept of a statement. */
export const maxStatementBytes = 4096;

/** A statement's text as the client sent it, cut to what is kept. Shared by all executions of a prepared statement. */
export interface StatementText {
  readonly bytes: Uint8Array;
  readonly isCut: boolean;
  /** Backslashes escape in its plain string literals: standard_conforming_strings is off. */
  readonly backslashes: boolean;
  /** What the writer made of it, once. */
  masked?: MaskedStatement;
}

export interface MaskedStatement {
  /** Without literals and comments. */
  readonly text: string;
  /** 16 hex; the same for statements that differ in literals, parameters, case and white space only. */
  readonly fingerprint: string;
}

/** A statement that has ended, as its engine counted it. */
export interface EndedStatement {
  /** On the precise clock. */
  readonly startedMs: number;
  readonly endedMs: number;
  readonly rows: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly sqlstate: string | undefined;
  /** False where texts are not wanted. */
  readonly hasText: boolean;
  /** Asked for only where the statement is kept: it may have to be copied. */
  readonly text: StatementText | undefined;
  /** Counts the session's transactions, from 1. */
  readonly transaction: number;
}

/** One session's statements, told one by one. On the hot path: must not throw, wait or do more than count. */
export interface StatementJournal {
  /** Whether texts are looked at. */
  readonly wantsText: boolean;
  nowMs(): number;
  /** `statement` is read at once and not kept. */
  ended(statement: EndedStatement): void;
  /** The session is over. */
  close(): void;
}

/** What is kept of one statement until it is written. */
export interface StatementRecord extends Omit<EndedStatement, "hasText"> {
  readonly origin: StatementOrigin;
  /** Wall clock at its start. */
  readonly at: number;
  readonly isSlow: boolean;
  /** How many statements it stands for, where they are sampled. */
  readonly weight: number;
  readonly text: StatementText;
}

/** Upper bounds of the latency histogram, milliseconds; one more bucket is for what is above. */
export const latencyBoundsMs = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000] as const;

/** What one database was used for since this was last written. */
export interface Usage {
  statements: number;
  errors: number;
  slow: number;
  rows: number;
  bytesReceived: number;
  bytesSent: number;
  durationMs: number;
  /** Statements by `latencyBoundsMs`. */
  readonly latencies: number[];
  /** Statements that should be in the log and are not, because there were too many. */
  dropped: number;
}

export interface QueryLogOptions {
  readonly enabled: boolean;
  /** Share of ordinary statements that are kept; errors and slow ones all are. */
  readonly samplePercent: number;
  /** Most ordinary statements kept per second, and as many errors and slow ones again. */
  readonly maxPerS: number;
  /** The same for one database, so that a busy tenant does not take the others' place. */
  readonly maxPerDatabasePerS: number;
}

/** Statements kept but not yet written; beyond it they are dropped and counted. */
const capacity = 10_000;

/** One second's budget: how much of it is spent. */
class Budget {
  #second = 0;
  #ordinary = 0;
  #special = 0;

  /** @returns false when this second's places are taken. */
  take(nowMs: number, isSpecial: boolean, limit: number): boolean {
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#ordinary = 0;
      this.#special = 0;
    }
    return (isSpecial ? ++this.#special : ++this.#ordinary) <= limit;
  }
}

/** Whose database. */
export type DatabaseOrigin = Pick<StatementOrigin, "projectId" | "workspaceId" | "tenantId" | "database">;

/** One database in use: its counts, and its share of the log. */
class DatabaseJournal {
  readonly origin: DatabaseOrigin;
  readonly budget = new Budget();
  usage = emptyUsage();
  sessions = 0;

  constructor({ projectId, workspaceId, tenantId, database }: DatabaseOrigin) {
    this.origin = { projectId, workspaceId, tenantId, database };
  }
}

/** What counts as slow. */
export type SlowThreshold = Pick<DatabaseSettings, "slow_query_ms">;

class SessionJournal implements StatementJournal {
  readonly #log: QueryLog;
  readonly #origin: StatementOrigin;
  readonly #database: DatabaseJournal;
  readonly #settings: () => SlowThreshold;

  constructor(log: QueryLog, origin: StatementOrigin, database: DatabaseJournal, settings: () => SlowThreshold) {
    this.#log = log;
    this.#origin = origin;
    this.#database = database;
    this.#settings = settings;
  }

  get wantsText(): boolean {
    return this.#log.wantsText;
  }

  nowMs(): number {
    return this.#log.nowMs();
  }

  ended(statement: EndedStatement): void {
    this.#log.ended(this.#origin, this.#database, statement, this.#settings().slow_query_ms);
  }

  close(): void {
    this.#database.sessions--;
  }
}

export interface DatabaseUsage {
  readonly origin: DatabaseOrigin;
  readonly usage: Usage;
}

/** Totals of this instance, for GET /metrics. */
export interface QueryLogTotals extends Readonly<Usage> {
  /** Errors by the class of their SQLSTATE, its first two characters. */
  readonly errorsByClass: ReadonlyMap<string, number>;
  readonly kept: number;
  readonly waiting: number;
}

export class QueryLog {
  readonly #clock: Clock;
  readonly #random: () => number;
  #options: QueryLogOptions;
  readonly #budget = new Budget();
  readonly #databases = new Map<string, DatabaseJournal>();
  #waiting: StatementRecord[] = [];
  readonly #totals: Usage = emptyUsage();
  readonly #errorsByClass = new Map<string, number>();
  #kept = 0;

  constructor(clock: Clock, options: QueryLogOptions, random: () => number = Math.random) {
    this.#clock = clock;
    this.#options = options;
    this.#random = random;
  }

  reload(options: QueryLogOptions): void {
    this.#options = options;
  }

  get totals(): QueryLogTotals {
    return { ...this.#totals, errorsByClass: this.#errorsByClass, kept: this.#kept, waiting: this.#waiting.length };
  }

  /** The journal of one session. `settings`: those in force now. */
  open(origin: StatementOrigin, settings: () => SlowThreshold): StatementJournal {
    const database = this.#journalOf(origin);
    database.sessions++;
    return new SessionJournal(this, origin, database, settings);
  }

  get wantsText(): boolean {
    return this.#options.enabled;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  /** Up to `limit` records, oldest first. They are the caller's from now on. */
  take(limit: number): StatementRecord[] {
    if (this.#waiting.length <= limit) {
      const all = this.#waiting;
      this.#waiting = [];
      return all;
    }
    return this.#waiting.splice(0, limit);
  }

  /** What was counted since the last call. Databases nobody is connected to are forgotten. */
  takeUsage(): DatabaseUsage[] {
    const taken: DatabaseUsage[] = [];
    for (const [key, database] of this.#databases) {
      if (database.usage.statements > 0 || database.usage.dropped > 0) {
        taken.push({ origin: database.origin, usage: database.usage });
        database.usage = emptyUsage();
      } else if (database.sessions === 0) this.#databases.delete(key);
    }
    return taken;
  }

  /** Usage that could not be written: counted again with what comes. */
  giveBack(usages: readonly DatabaseUsage[]): void {
    for (const { origin, usage } of usages) {
      addUsage(this.#journalOf(origin).usage, usage);
    }
  }

  /** Records that could not be written. */
  lost(records: readonly StatementRecord[]): void {
    for (const { origin } of records) {
      this.#journalOf(origin).usage.dropped++;
      this.#totals.dropped++;
    }
  }

  #journalOf(origin: DatabaseOrigin): DatabaseJournal {
    const key = `${origin.projectId} ${origin.database}`;
    const known = this.#databases.get(key);
    if (known) return known;
    const made = new DatabaseJournal(origin);
    this.#databases.set(key, made);
    return made;
  }

  /** A statement of one of the sessions is over. */
  ended(origin: StatementOrigin, database: DatabaseJournal, statement: EndedStatement, slowMs: number): void {
    const durationMs = statement.endedMs - statement.startedMs;
    const isSlow = durationMs >= slowMs;
    count(database.usage, statement, durationMs, isSlow);
    count(this.#totals, statement, durationMs, isSlow);
    if (statement.sqlstate !== undefined) this.#countError(statement.sqlstate);
    if (!statement.hasText) return;
    const isSpecial = isSlow || statement.sqlstate !== undefined;
    const { samplePercent, maxPerS, maxPerDatabasePerS } = this.#options;
    if (!isSpecial && samplePercent < 100 && this.#random() * 100 >= samplePercent) return;
    const now = statement.endedMs;
    const hasPlace =
      this.#waiting.length < capacity && database.budget.take(now, isSpecial, maxPerDatabasePerS) && this.#budget.take(now, isSpecial, maxPerS);
    if (!hasPlace) {
      database.usage.dropped++;
      this.#totals.dropped++;
      return;
    }
    const { text } = statement;
    if (!text) return;
    this.#kept++;
    const weight = isSpecial ? 1 : 100 / samplePercent;
    const { startedMs, endedMs, rows, bytesReceived, bytesSent, sqlstate, transaction } = statement;
    const at = this.#clock.wallMs() - durationMs;
    this.#waiting.push({ startedMs, endedMs, rows, bytesReceived, bytesSent, sqlstate, transaction, text, origin, at, isSlow, weight });
  }

  #countError(sqlstate: string): void {
    const known = knownClasses.has(sqlstate.slice(0, 2)) ? sqlstate.slice(0, 2) : "other";
    this.#errorsByClass.set(known, (this.#errorsByClass.get(known) ?? 0) + 1);
  }
}

/** PostgreSQL's own classes; functions may raise any other, which would make labels without end. */
const knownClasses = new Set(
  "08 09 0A 0B 0F 0L 0P 0Z 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 40 42 44 53 54 55 57 58 F0 HV P0 XX".split(" "),
);

export function emptyUsage(): Usage {
  return {
    statements: 0,
    errors: 0,
    slow: 0,
    rows: 0,
    bytesReceived: 0,
    bytesSent: 0,
    durationMs: 0,
    latencies: new Array<number>(latencyBoundsMs.length + 1).fill(0),
    dropped: 0,
  };
}

function count(usage: Usage, statement: EndedStatement, durationMs: number, isSlow: boolean): void {
  usage.statements++;
  if (statement.sqlstate !== undefined) usage.errors++;
  if (isSlow) usage.slow++;
  usage.rows += statement.rows;
  usage.bytesReceived += statement.bytesReceived;
  usage.bytesSent += statement.bytesSent;
  usage.durationMs += durationMs;
  let at = 0;
  while (at < latencyBoundsMs.length && durationMs > latencyBoundsMs[at]!) at++;
  usage.latencies[at]!++;
}

export function addUsage(sum: Usage, more: Readonly<Usage>): void {
  sum.statements += more.statements;
  sum.errors += more.errors;
  sum.slow += more.slow;
  sum.rows += more.rows;
  sum.bytesReceived += more.bytesReceived;
  sum.bytesSent += more.bytesSent;
  sum.durationMs += more.durationMs;
  sum.dropped += more.dropped;
  for (const [i, value] of more.latencies.entries()) sum.latencies[i] = (sum.latencies[i] ?? 0) + value;
}
