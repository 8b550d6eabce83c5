/** What a statement of a deployment costs: its time, the locks it takes on relations that were there before, and the tables it writes anew. */
import type { BlueprintVersion, DryRunStatement } from "../../../core/model.ts";
import type { SqlConnection } from "../../../core/sql.ts";

/** PostgreSQL's table lock modes, weakest first. */
const lockModes = [
  "AccessShareLock",
  "RowShareLock",
  "RowExclusiveLock",
  "ShareUpdateExclusiveLock",
  "ShareLock",
  "ShareRowExclusiveLock",
  "ExclusiveLock",
  "AccessExclusiveLock",
];

const relationsSql = `
SELECT c.oid::pg_catalog.int8 AS oid, c.relfilenode::pg_catalog.int8 AS file, c.relkind::pg_catalog.text AS kind,
       pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname) AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 WHERE n.nspname OPERATOR(pg_catalog.!~) '^(pg_|information_schema$|tdb$)'`;

const locksSql = `
SELECT l.relation::pg_catalog.int8 AS oid, l.mode FROM pg_catalog.pg_locks l
 WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.granted`;

interface Relation {
  readonly name: string;
  readonly file: number;
  readonly kind: string;
}

/** Looks at one transaction's statements from within. */
export class StatementWatch {
  readonly #connection: SqlConnection;
  readonly #nowMs: () => number;
  readonly #tell: (statement: DryRunStatement) => void;
  #before: ReadonlyMap<number, Relation> = new Map();
  #held: ReadonlyMap<number, number> = new Map();
  #startedMs = 0;

  constructor(connection: SqlConnection, nowMs: () => number, tell: (statement: DryRunStatement) => void) {
    this.#connection = connection;
    this.#nowMs = nowMs;
    this.#tell = tell;
  }

  async begin(): Promise<void> {
    this.#before = await this.#readRelations();
    this.#held = await this.#readLocks();
    this.#startedMs = this.#nowMs();
  }

  async end(version: BlueprintVersion): Promise<void> {
    const durationMs = Math.round((this.#nowMs() - this.#startedMs) * 100) / 100;
    const [now, held] = [await this.#readRelations(), await this.#readLocks()];
    const locks = [...held].flatMap(([oid, mode]) => {
      const relation = this.#before.get(oid);
      return relation && mode > (this.#held.get(oid) ?? -1) ? [`${relation.name} ${lockModes[mode]}`] : [];
    });
    const rewrites = [...this.#before].flatMap(([oid, { file, kind, name }]) => {
      const isWrittenAnew = "rm".includes(kind) && now.has(oid) && now.get(oid)?.file !== file;
      return isWrittenAnew ? [name] : [];
    });
    this.#tell({ version: version.version, command: version.commandTag, durationMs, locks: locks.sort(), rewrites: rewrites.sort() });
  }

  async #readRelations(): Promise<Map<number, Relation>> {
    const { rows } = await this.#connection.query(relationsSql);
    return new Map(rows.map((row) => [Number(row.oid), { name: String(row.name), file: Number(row.file), kind: String(row.kind) }]));
  }

  /** The strongest mode per relation, as its place in `lockModes`. */
  async #readLocks(): Promise<Map<number, number>> {
    const { rows } = await this.#connection.query(locksSql);
    const held = new Map<number, number>();
    for (const row of rows) held.set(Number(row.oid), Math.max(held.get(Number(row.oid)) ?? -1, lockModes.indexOf(String(row.mode))));
    return held;
  }
}
