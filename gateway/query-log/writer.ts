/** Brings the query log from memory to the store, in batches that no client waits for. */
import { type Kysely, sql } from "kysely";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { DatabaseUsage, MaskedStatement, QueryLog, StatementRecord, StatementText } from "../../core/query-log.ts";
import type { Tables } from "../store/schema.ts";
import { isStoreAway } from "../store/store-errors.ts";
import { Partitions } from "./tables.ts";
import { usageIntervalMs } from "./usage.ts";

export interface QueryLogWriterDeps {
  readonly db: Kysely<Tables>;
  readonly clock: Clock;
  readonly log: Log;
  readonly queries: QueryLog;
  /** Literals out, or not; see engines/postgres/mask.ts. */
  readonly mask: (text: StatementText, keepLiterals: boolean) => MaskedStatement;
  /** As of the last reload. */
  readonly options: () => { readonly keepLiterals: boolean; readonly retentionDays: number };
}

const flushMs = 500;
/** Small enough that masking and encoding one batch is no pause for the sessions of this process. */
const batchSize = 500;
/** Usage waits longer than statements: it is one row per database and interval. */
const usageMs = 10_000;
const dropMs = 3_600_000;
const dayMs = 86_400_000;

type Job = "statements" | "usage" | "drop";

export class QueryLogWriter {
  readonly #deps: QueryLogWriterDeps;
  readonly #partitions: Partitions;
  readonly #stops: (() => void)[];
  readonly #due = new Set<Job>();
  readonly #jobs: Record<Job, () => Promise<void>> = {
    statements: () => this.#writeStatements(),
    usage: () => this.#writeUsage(),
    drop: () => this.#dropOld(),
  };
  #working: Promise<void> | undefined;
  /** A batch the store was away for; it goes first. */
  #kept: readonly StatementRecord[] = [];
  /** What did not go well the last time. */
  readonly #failing = new Set<Job>();

  constructor(deps: QueryLogWriterDeps) {
    this.#deps = deps;
    this.#partitions = new Partitions(deps.db);
    const { clock } = deps;
    this.#stops = [
      clock.every(flushMs, () => void this.#do("statements")),
      clock.every(usageMs, () => void this.#do("usage")),
      clock.every(dropMs, () => void this.#do("drop")),
    ];
    void this.#do("drop");
  }

  /** Writes everything there is now. Never rejects. */
  async flush(): Promise<void> {
    while (this.#working) await this.#working;
    await this.#do("statements", "usage");
  }

  /** Writes what is left. */
  async stop(): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.flush();
  }

  /** One job after the other; one that is due twice is done once. */
  async #do(...jobs: readonly Job[]): Promise<void> {
    for (const job of jobs) this.#due.add(job);
    this.#working ??= this.#workOff().finally(() => {
      this.#working = undefined;
    });
    await this.#working;
  }

  async #workOff(): Promise<void> {
    for (const job of this.#due) {
      this.#due.delete(job); // what falls due meanwhile comes after
      await this.#guarded(job);
    }
  }

  async #guarded(job: Job): Promise<void> {
    const { log } = this.#deps;
    const wasAway = this.#failing.size > 0;
    try {
      await this.#jobs[job]();
      this.#failing.delete(job);
      if (wasAway && this.#failing.size === 0) log.write("info", "query log is written again");
    } catch (error) {
      this.#failing.add(job);
      if (!wasAway) log.write("warn", "query log not written, to be tried again", { error: String(error) });
    }
  }

  async #writeStatements(): Promise<void> {
    const { queries } = this.#deps;
    for (;;) {
      const batch = this.#kept.length > 0 ? this.#kept : queries.take(batchSize);
      if (batch.length === 0) return;
      try {
        await this.#partitions.ensure(batch.map((record) => record.at));
        await this.#insert(batch);
        this.#kept = [];
      } catch (error) {
        // The store is away or busy: once more later. What it does not take is not tried for ever.
        const isWorthIt = isStoreAway(error) || (error as { code?: unknown }).code === "55P03";
        this.#kept = isWorthIt ? batch : [];
        if (!isWorthIt) queries.lost(batch);
        throw error;
      }
    }
  }

  async #insert(batch: readonly StatementRecord[]): Promise<void> {
    const rows = JSON.stringify(batch.map((record) => this.#toRow(record)));
    await sql`
      insert into tenantry.query_log (at, project_id, workspace_id, tenant_id, credential_id, address, session_id, transaction_id, duration_ms,
        rows, bytes_received, bytes_sent, sqlstate, is_slow, statement, is_cut, fingerprint, weight)
      select to_timestamp(at / 1000), project_id, workspace_id, tenant_id, credential_id, address, session_id, transaction_id, duration_ms,
        rows, bytes_received, bytes_sent, sqlstate, is_slow, statement, is_cut, fingerprint, weight
      from json_to_recordset(${rows}::json) as r (at float8, project_id text, workspace_id text, tenant_id text, credential_id text, address text,
        session_id text, transaction_id text, duration_ms float8, rows bigint, bytes_received bigint, bytes_sent bigint, sqlstate text,
        is_slow boolean, statement text, is_cut boolean, fingerprint text, weight real)`.execute(this.#deps.db);
  }

  #toRow(record: StatementRecord) {
    const { origin, text } = record;
    const { keepLiterals } = this.#deps.options();
    text.masked ??= this.#deps.mask(text, keepLiterals);
    return {
      at: record.at,
      project_id: origin.projectId,
      workspace_id: origin.workspaceId,
      tenant_id: origin.tenantId ?? null,
      credential_id: origin.credentialId,
      address: origin.address,
      session_id: origin.sessionId,
      transaction_id: `${origin.sessionId}.${record.transaction}`,
      duration_ms: Math.round((record.endedMs - record.startedMs) * 1000) / 1000,
      rows: record.rows,
      bytes_received: record.bytesReceived,
      bytes_sent: record.bytesSent,
      sqlstate: record.sqlstate ?? null,
      is_slow: record.isSlow,
      statement: text.masked.text,
      is_cut: text.isCut,
      fingerprint: text.masked.fingerprint,
      weight: record.weight,
    };
  }

  async #writeUsage(): Promise<void> {
    const { queries, clock } = this.#deps;
    const usages = queries.takeUsage();
    if (usages.length === 0) return;
    const at = Math.floor(clock.wallMs() / usageIntervalMs) * usageIntervalMs;
    try {
      await this.#partitions.ensure([at]);
      await this.#addUsage(at, usages);
    } catch (error) {
      queries.giveBack(usages);
      throw error;
    }
  }

  async #addUsage(at: number, usages: readonly DatabaseUsage[]): Promise<void> {
    const rows = JSON.stringify(
      usages.map(({ origin, usage }) => ({
        project_id: origin.projectId,
        workspace_id: origin.workspaceId,
        tenant_id: origin.tenantId ?? "",
        database_name: origin.database,
        statements: usage.statements,
        errors: usage.errors,
        slow: usage.slow,
        rows: usage.rows,
        bytes_received: usage.bytesReceived,
        bytes_sent: usage.bytesSent,
        duration_ms: usage.durationMs,
        dropped: usage.dropped,
        latencies: usage.latencies,
      })),
    );
    await sql`
      insert into tenantry.query_usage as u (at, project_id, workspace_id, tenant_id, database_name, statements, errors, slow, rows, bytes_received, bytes_sent,
        duration_ms, dropped, latencies)
      select ${new Date(at)}, project_id, workspace_id, tenant_id, database_name, statements, errors, slow, rows, bytes_received, bytes_sent, duration_ms, dropped,
        array(select value::bigint from json_array_elements_text(latencies) with ordinality as l (value, place) order by place)
      from json_to_recordset(${rows}::json) as r (project_id text, workspace_id text, tenant_id text, database_name text, statements bigint, errors bigint, slow bigint,
        rows bigint, bytes_received bigint, bytes_sent bigint, duration_ms float8, dropped bigint, latencies json)
      on conflict (project_id, tenant_id, workspace_id, at, database_name) do update set
        statements = u.statements + excluded.statements, errors = u.errors + excluded.errors, slow = u.slow + excluded.slow,
        rows = u.rows + excluded.rows, bytes_received = u.bytes_received + excluded.bytes_received, bytes_sent = u.bytes_sent + excluded.bytes_sent,
        duration_ms = u.duration_ms + excluded.duration_ms, dropped = u.dropped + excluded.dropped,
        latencies = array(select coalesce(a, 0) + coalesce(b, 0)
          from unnest(u.latencies, excluded.latencies) with ordinality as l (a, b, place) order by place)`.execute(this.#deps.db);
  }

  async #dropOld(): Promise<void> {
    const { clock, log, options } = this.#deps;
    const dropped = await this.#partitions.drop(clock.wallMs() - options().retentionDays * dayMs);
    if (dropped > 0) log.write("info", "old query log dropped", { partitions: dropped });
  }
}
