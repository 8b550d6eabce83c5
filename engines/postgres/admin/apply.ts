/** Brings a tenant or template database to a blueprint version, as its owner; the version record commits with the statements. */
import type { ApplyOptions, ApplyResult } from "../../../core/cluster-admin.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../../core/model.ts";
import type { SqlConnection } from "../../../core/sql.ts";
import { runAloneStep } from "./apply-alone.ts";
import { StatementWatch } from "./apply-watch.ts";
import { type AdminContext, inTransaction, withAdmin, withLocks, withRole } from "./context.ts";
import { ReplaySettings } from "./replay-settings.ts";
import { translateRoleNames } from "./role-names.ts";
import { asSqlError, toGatewayError } from "./sql-errors.ts";

/** lock_not_available, deadlock_detected, serialization_failure. */
const retryable = new Set(["55P03", "40P01", "40001"]);

export async function readAppliedVersion(context: AdminContext, database: PhysicalDatabase): Promise<number> {
  return await withAdmin(context, database.clusterId, database.name, async (connection) => {
    const found = await connection.query("SELECT version FROM tdb.applied");
    return Number(found.rows[0]?.version ?? 0);
  });
}

interface TryOptions extends ApplyOptions {
  readonly isLastTry: boolean;
}

export async function applyVersions(
  context: AdminContext,
  database: PhysicalDatabase,
  versions: readonly BlueprintVersion[],
  options: ApplyOptions,
): Promise<ApplyResult> {
  return await withLocks(context, database.clusterId, [{ name: database.name, mode: "exclusive" }], async () => {
    let fromVersion: number | undefined;
    for (let attempt = 1; ; attempt++) {
      options.signal?.throwIfAborted();
      try {
        const reached = await withRole(context, database, "owner", async (connection) => {
          const current = await readVersion(connection);
          fromVersion ??= current;
          return await applyFrom(context, connection, database, current, versions, { ...options, isLastTry: attempt >= options.attempts });
        });
        return { fromVersion: fromVersion ?? reached, toVersion: reached, attempts: attempt };
      } catch (error) {
        if (attempt >= options.attempts || !isWorthRetrying(error)) throw error;
        context.log.write("info", "deployment to a database is tried again", {
          database: database.name,
          attempt,
          sqlstate: (error as GatewayError).sqlstate,
        });
        // Doubling, with jitter, so that a fleet's retries do not come together.
        await context.clock.sleep(Math.min(100 * 2 ** attempt, 5000) * (0.5 + Math.random()), options.signal);
      }
    }
  });
}

/** A lost connection too: whether the COMMIT came through is then read from the database. */
function isWorthRetrying(error: unknown): error is GatewayError {
  return error instanceof GatewayError && (retryable.has(error.sqlstate) || error.kind === "backend_unreachable");
}

async function readVersion(connection: SqlConnection): Promise<number> {
  const found = await connection.query("SELECT tdb.lock_applied() AS version");
  return Number(found.rows[0]?.version);
}

/** @returns the version reached. */
async function applyFrom(
  context: AdminContext,
  connection: SqlConnection,
  database: PhysicalDatabase,
  current: number,
  versions: readonly BlueprintVersion[],
  options: TryOptions,
): Promise<number> {
  const due = versions.filter((each) => each.version > current);
  requireConsecutive(current, due);
  let reached = current;
  for (const run of splitRuns(due)) {
    options.signal?.throwIfAborted();
    const last = run.at(-1) as BlueprintVersion;
    const input = { run, reached, total: due.length, first: current + 1 };
    if (last.transactional || last.skippedAt !== undefined) await applyRun(context, connection, database, input, options);
    else await applyAlone(context, connection, database, input, options);
    reached = last.version;
  }
  return reached;
}

interface Run {
  readonly run: readonly BlueprintVersion[];
  /** Version the database is at before the run. */
  readonly reached: number;
  readonly first: number;
  readonly total: number;
}

async function applyAlone(
  context: AdminContext,
  connection: SqlConnection,
  database: PhysicalDatabase,
  input: Run,
  options: TryOptions,
): Promise<void> {
  const version = input.run[0] as BlueprintVersion;
  const startedMs = context.clock.nowMs();
  try {
    await runAloneStep(context, connection, { ...version, sql: translateRoleNames(version.sql, database.name) }, options.lockTimeoutMs);
  } catch (error) {
    throw statementFailed(error, version, input);
  }
  const durationMs = Math.round((context.clock.nowMs() - startedMs) * 100) / 100;
  // Its locks come and go while it runs; its kind of statement exists in order to hold none that stops others.
  options.onStatement?.({ version: version.version, command: version.commandTag, durationMs, locks: [], rewrites: [] });
}

async function applyRun(
  context: AdminContext,
  connection: SqlConnection,
  database: PhysicalDatabase,
  input: Run,
  options: TryOptions,
): Promise<void> {
  const { run, reached } = input;
  const watch = options.onStatement && new StatementWatch(connection, () => context.clock.nowMs(), options.onStatement);
  let at = run[0] as BlueprintVersion;
  const transaction = () =>
    inTransaction(connection, async () => {
      await setLocal(connection, "lock_timeout", String(options.lockTimeoutMs));
      // Functions were checked when the workspace made them; there their body may name what a later version creates.
      await setLocal(connection, "check_function_bodies", "off");
      const settings = new ReplaySettings(connection, "transaction");
      for (const version of run) {
        options.signal?.throwIfAborted();
        at = version;
        if (version.skippedAt !== undefined) continue;
        await settings.set(version);
        await watch?.begin();
        await runOne(connection, translateRoleNames(version.sql, database.name));
        await watch?.end(version);
      }
      await connection.query("SELECT tdb.record_applied($1, $2)", [reached, (run.at(-1) as BlueprintVersion).version]);
    });
  try {
    await (options.around ? options.around(transaction, options.isLastTry) : transaction());
  } catch (error) {
    throw statementFailed(error, at, input);
  }
}

function setLocal(connection: SqlConnection, name: string, value: string): Promise<unknown> {
  return connection.query("SELECT pg_catalog.set_config($1, $2, true)", [name, value]);
}

/** Through a portal, which takes one statement only: a text that holds more cannot end our transaction. */
export function runOne(connection: SqlConnection, sql: string): Promise<unknown> {
  return connection.queryArrays(sql, [], { maxRows: 0, timeoutMs: 0 });
}

/**
 * Statements that share a transaction. A new enum value cannot be used before it is committed, so ADD VALUE ends a run;
 * what cannot run inside a transaction is a run of its own.
 */
function splitRuns(versions: readonly BlueprintVersion[]): BlueprintVersion[][] {
  const runs: BlueprintVersion[][] = [];
  let open = false;
  for (const version of versions) {
    if (open && (version.transactional || version.skippedAt !== undefined)) runs.at(-1)?.push(version);
    else runs.push([version]);
    if (version.skippedAt !== undefined) {
      open = true;
      continue;
    }
    open = version.transactional && !(version.commandTag === "ALTER TYPE" && /\badd\s+value\b/i.test(version.sql));
  }
  return runs;
}

function requireConsecutive(current: number, due: readonly BlueprintVersion[]): void {
  for (const [index, { version }] of due.entries()) {
    if (version !== current + 1 + index) {
      throw new GatewayError(
        "conflict",
        `cannot apply version ${version}: the database is at version ${current + index} and version ${current + index + 1} was not given`,
      );
    }
  }
}

/** Names version and statement; values that PostgreSQL puts into DETAIL stay out of deployment reports. */
function statementFailed(error: unknown, version: BlueprintVersion, run: Run): unknown {
  const sql = asSqlError(error);
  if (!sql) return error;
  const refusal = toGatewayError(error);
  if (refusal instanceof GatewayError && refusal.kind === "backend_unreachable") return refusal;
  const place = `version ${version.version} (${version.commandTag}, statement ${version.version - run.first + 1} of ${run.total})`;
  return new GatewayError("query_failed", `${place}: ${sql.message}`, { sqlstate: sql.code, cause: error });
}
