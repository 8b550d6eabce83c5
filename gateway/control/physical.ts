/** The inventory of physical databases: a row before a database is made, and until it is dropped. */
import { type Kysely, type Selectable, sql } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { physicalOf } from "../store/rows.ts";
import type { DatabaseKind, DatabaseRow, Tables } from "../store/schema.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { badRequest } from "./inputs.ts";
import { forEachLimited } from "./limited.ts";

export type KnownDatabase = Selectable<DatabaseRow>;

/** Databases dropped at a time; each makes the cluster write a checkpoint. */
const dropsAtOnce = 4;

export function makeDatabaseName(context: ControlContext): string {
  return `tdb_${context.secrets.randomHex(8)}`;
}

/** Writes the row of a database about to be made, claimed by this instance, which holds its name already. */
export async function insertDatabase(
  context: ControlContext,
  db: Kysely<Tables>,
  input: { name: string; projectId: string; workspaceId: string; clusterId: string; kind: DatabaseKind },
): Promise<PhysicalDatabase> {
  const row = await db
    .insertInto("databases")
    .values({
      name: input.name,
      cluster_id: input.clusterId,
      project_id: input.projectId,
      workspace_id: input.workspaceId,
      kind: input.kind,
      state: "creating",
      claimed_by: context.claims.key,
      created_at: nowDate(context),
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  return physicalOf(row);
}

/** @returns false when the row is no longer this instance's: the workspace was deleted meanwhile, or the claim was lost. */
export async function markDatabaseReady(context: ControlContext, db: Kysely<Tables>, name: string, version: number): Promise<boolean> {
  const done = await db
    .updateTable("databases")
    .set({ state: "ready", version, claimed_by: null })
    .where("name", "=", name)
    .where("state", "=", "creating")
    .where("claimed_by", "=", context.claims.key)
    .executeTakeFirst();
  return done.numUpdatedRows === 1n;
}

export async function markDatabasesDeleting(db: Kysely<Tables>, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await db
    .updateTable("databases")
    .set({ state: "deleting", claimed_by: null })
    .where("name", "in", [...names])
    .execute();
}

/**
 * Drops databases and then their rows. May be repeated, and done by several at once. Also where the row is gone already: a database
 * still being made when its row was removed is dropped by who made it. @throws the first failure, after all were tried.
 */
export async function dropDatabases(context: ControlContext, databases: readonly PhysicalDatabase[]): Promise<void> {
  await forEachLimited(databases, dropsAtOnce, (database) =>
    context.store.withLock(`drop:${database.name}`, "exclusive", async () => {
      await context.admin.dropDatabase(database);
      await context.store.db.deleteFrom("databases").where("name", "=", database.name).execute();
    }),
  );
}

/** Databases to be dropped, as recorded. */
export async function loadDatabases(db: Kysely<Tables>, names: readonly string[]): Promise<readonly PhysicalDatabase[]> {
  if (names.length === 0) return [];
  const rows = await db
    .selectFrom("databases")
    .selectAll()
    .where("name", "in", [...names])
    .execute();
  return rows.map(physicalOf);
}

/**
 * Where a database goes: to the cluster that is named, else level 1 to the first, level 2 to the emptiest of the others.
 * @throws {GatewayError} forbidden, bad_request
 */
export async function placeDatabase(context: ControlContext, isolationLevel: 1 | 2, named?: string): Promise<string> {
  if (isolationLevel === 2 || named !== undefined) await context.clusters.refresh();
  const [shared, ...dedicated] = context.clusters.list();
  if (isolationLevel === 2 && dedicated.length === 0) {
    throw new GatewayError("forbidden", "isolation_level 2 needs a second cluster, and this server has one. Use isolation_level 1");
  }
  if (named !== undefined) return chooseNamed(context, isolationLevel, named);
  if (isolationLevel === 1 || dedicated.length === 0) return shared!.id;
  const counts = await context.store.db
    .selectFrom("databases")
    .select(["cluster_id", sql<number>`count(*)`.as("databases")])
    .groupBy("cluster_id")
    .execute();
  const load = (id: string) => counts.find((row) => row.cluster_id === id)?.databases ?? 0;
  return [...dedicated].sort((a, b) => load(a.id) - load(b.id))[0]!.id;
}

function chooseNamed(context: ControlContext, isolationLevel: 1 | 2, named: string): string {
  const clusters = context.clusters.list();
  const at = clusters.findIndex(({ name }) => name === named);
  const found = clusters[at];
  if (!found) throw badRequest(`there is no cluster '${named}'`, "cluster");
  const level = at === 0 ? 1 : 2;
  if (level !== isolationLevel) throw badRequest(`cluster '${named}' is for isolation_level ${level}`, "cluster");
  return found.id;
}

/** The caller hears of the failure that came first; this one is for the log, and its remains for the sweep. */
export function logLeftOver(context: ControlContext, what: string, error: unknown): void {
  context.log.write("warn", "unfinished work left for the sweep", { what, reason: error instanceof Error ? error.message : String(error) });
}
