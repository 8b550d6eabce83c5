/** Takes backups and rollbacks that wait, a few at a time, and looks after what crashes and time have left. Rows decide who works on what. */
import { sql } from "kysely";
import { nowDate } from "../control/context.ts";
import { markDatabasesDeleting } from "../control/physical.ts";
import type { BackupDeps } from "./deps.ts";
import { removeFiles } from "./formats.ts";
import { makeBackup } from "./make-backup.ts";
import { recoverRollback, runRollback } from "./rollbacks.ts";
import type { KnownBackup, KnownRollback } from "./rows.ts";
import { markExpired, queueDue } from "./schedules.ts";

/** Times a backup is begun, when instances die over it. */
const maxAttempts = 3;
/** Failed ones are listed this long. */
const keepFailedDays = 30;
const openRollback = ["queued", "restoring", "switching"] as const;

type Table = "backups" | "rollbacks";

export class Worker {
  readonly #deps: BackupDeps;
  #running = 0;
  #stopTimers: (() => void)[] = [];

  constructor(deps: BackupDeps) {
    this.#deps = deps;
  }

  start(): void {
    const { clock, background, config } = this.#deps.context;
    const upkeep = () => background.runOnce("upkeep of backups", () => this.upkeep());
    upkeep();
    this.wake();
    this.#stopTimers = [clock.every(1_000, () => this.wake()), clock.every(config.sweepMs, upkeep)];
  }

  /** Takes nothing more; what runs is broken off by the signal and waited for by the control plane's background. */
  stop(): void {
    for (const stop of this.#stopTimers.splice(0)) stop();
  }

  wake(): void {
    if (this.#deps.stopping.aborted) return;
    this.#deps.context.background.runOnce("taking backups", () => this.#take());
  }

  async #take(): Promise<void> {
    // Rollbacks first: somebody waits for them.
    while (this.#running < this.#deps.config().concurrency && !this.#deps.stopping.aborted) {
      const started = (await this.#takeOne("rollbacks")) || (await this.#takeOne("backups"));
      if (!started) return;
    }
  }

  /** Claims the oldest that waits and starts it in the background. @returns false when there is none */
  async #takeOne(table: Table): Promise<boolean> {
    const { db } = this.#deps.context.store;
    const waiting = await db.selectFrom(table).select("id").where("state", "=", "queued").orderBy("created_at").limit(20).execute();
    for (const { id } of waiting) {
      const release = this.#deps.context.claims.take(id);
      let claimed = false;
      try {
        claimed = await this.#start(table, id, release);
      } finally {
        if (!claimed) release();
      }
      if (claimed) return true;
    }
    return false;
  }

  async #start(table: Table, id: string, release: () => void): Promise<boolean> {
    const { context } = this.#deps;
    const claim = { claimed_by: context.claims.key, attempts: sql<number>`attempts + 1` };
    if (table === "backups") {
      const update = context.store.db.updateTable("backups").set({ ...claim, state: "running" });
      const row = await update.where("id", "=", id).where("state", "=", "queued").returningAll().executeTakeFirst();
      if (row) this.#run("backup", release, () => makeBackup(this.#deps, row));
      return row !== undefined;
    }
    const update = context.store.db.updateTable("rollbacks").set({ ...claim, state: "restoring" });
    const row = await update.where("id", "=", id).where("state", "=", "queued").returningAll().executeTakeFirst();
    if (row) this.#run("rollback", release, () => runRollback(this.#deps, row));
    return row !== undefined;
  }

  #run(what: string, release: () => void, work: () => Promise<void>): void {
    this.#running++;
    const ended = async () => {
      try {
        await work();
      } finally {
        this.#running--;
        release();
        this.wake();
      }
    };
    this.#deps.context.background.run(what, ended);
  }

  /** Each step may be repeated, by any instance; one that fails does not keep the others from running. */
  async upkeep(): Promise<void> {
    const steps: readonly (readonly [string, () => Promise<void>])[] = [
      ["backups left unfinished", () => this.#recoverBackups()],
      ["rollbacks left unfinished", () => this.#recoverRollbacks()],
      ["due backups", () => queueDue(this.#deps)],
      ["backups past their time", () => markExpired(this.#deps)],
      ["backups of tenants that are gone", () => this.#markOrphans()],
      ["deleted backups", () => this.#removeDeleted()],
      ["replaced databases", () => this.#dropReplaced()],
    ];
    for (const [what, step] of steps) {
      if (this.#deps.context.background.stopped) return;
      try {
        await step();
      } catch (error) {
        this.#deps.context.log.write("warn", "upkeep of backups failed", { what, reason: error instanceof Error ? error.message : String(error) });
      }
    }
  }

  /** Takes over rows whose instance died; held here from before the claim until `work` is done. */
  async #takeOver<R extends { id: string }>(
    ids: readonly { id: string }[],
    claim: (id: string) => Promise<R | undefined>,
    work: (row: R) => Promise<void>,
  ) {
    const { claims } = this.#deps.context;
    for (const { id } of ids) {
      if (claims.holds(id)) continue;
      await claims.hold(id, async () => {
        const row = await claim(id);
        if (row) await work(row);
      });
    }
  }

  async #recoverBackups(): Promise<void> {
    const { store, claims } = this.#deps.context;
    const orphaned = () => claims.orphaned("claimed_by", sql.ref("id"));
    const ids = await store.db.selectFrom("backups").select("id").where("state", "=", "running").where(orphaned()).execute();
    const claim = async (id: string): Promise<KnownBackup | undefined> => {
      // The condition is made before this instance holds the row, so that its own dead work counts as nobody's.
      const update = store.db.updateTable("backups").set({ claimed_by: claims.key }).where("id", "=", id).where("state", "=", "running");
      return await update
        .where((eb) => eb.or([eb("claimed_by", "is", null), eb("claimed_by", "=", claims.key), claims.orphaned("claimed_by", sql.ref("id"))]))
        .returningAll()
        .executeTakeFirst();
    };
    await this.#takeOver(ids, claim, async (row) => {
      const storage = this.#deps.storages.find(row.storage);
      if (storage) await removeFiles(storage, row.storage_key);
      const isHopeless = row.attempts >= maxAttempts;
      const failed = {
        state: "failed",
        error: `The gateway stopped ${row.attempts} times while it was at work on this`,
        finished_at: nowDate(this.#deps.context),
      } as const;
      await store.db
        .updateTable("backups")
        .set({ claimed_by: null, ...(isHopeless ? failed : { state: "queued" as const }) })
        .where("id", "=", row.id)
        .where("state", "=", "running")
        .where("claimed_by", "=", claims.key)
        .execute();
    });
    if (ids.length > 0) this.wake();
  }

  async #recoverRollbacks(): Promise<void> {
    const { store, claims } = this.#deps.context;
    const open = store.db.selectFrom("rollbacks").select("id").where("state", "in", ["restoring", "switching"]);
    const ids = await open.where(claims.orphaned("claimed_by", sql.ref("id"))).execute();
    const claim = async (id: string): Promise<KnownRollback | undefined> => {
      const update = store.db
        .updateTable("rollbacks")
        .set({ claimed_by: claims.key })
        .where("id", "=", id)
        .where("state", "in", ["restoring", "switching"]);
      return await update
        .where((eb) => eb.or([eb("claimed_by", "is", null), eb("claimed_by", "=", claims.key), claims.orphaned("claimed_by", sql.ref("id"))]))
        .returningAll()
        .executeTakeFirst();
    };
    await this.#takeOver(ids, claim, (row) => recoverRollback(this.#deps, row));
    if (ids.length > 0) this.wake();
  }

  /** A tenant deleted for good takes its backups with it, and one of the same name later does not get them. */
  async #markOrphans(): Promise<void> {
    const { store } = this.#deps.context;
    const failedBefore = new Date(this.#deps.context.clock.wallMs() - keepFailedDays * 86_400_000);
    await sql`
      update tenantry.backups b set state = 'deleting' where b.state in ('queued', 'ready', 'failed') and (
        not exists (select from tenantry.tenants t where t.project_id = b.project_id and t.id = b.tenant_id and t.created_at = b.tenant_created_at)
        or (b.state = 'failed' and b.created_at < ${failedBefore}))`.execute(store.db);
    await sql`
      delete from tenantry.rollbacks r where r.state in ('done', 'failed') and not exists (
        select from tenantry.tenants t where t.project_id = r.project_id and t.id = r.tenant_id and t.created_at = r.tenant_created_at)
        and not exists (select from tenantry.databases d where d.name = r.replaced_name and d.kind = 'replaced')`.execute(store.db);
  }

  async #removeDeleted(): Promise<void> {
    const { store } = this.#deps.context;
    const rows = await store.db.selectFrom("backups").selectAll().where("state", "=", "deleting").limit(1_000).execute();
    for (const row of rows) {
      if (this.#deps.context.background.stopped) return;
      // Kept somewhere that is not configured any more: it cannot be reached, and the row is of no use without it.
      const storage = this.#deps.storages.find(row.storage);
      if (!storage) this.#deps.context.log.write("warn", "file of a deleted backup left behind", { storage: row.storage, key: row.storage_key });
      else await removeFiles(storage, row.storage_key);
      await store.db.deleteFrom("backups").where("id", "=", row.id).execute();
    }
  }

  /** Their time is over, their tenant is gone, or the rollback they were made for is. The control plane's sweep drops them. */
  async #dropReplaced(): Promise<void> {
    const { store } = this.#deps.context;
    const gone = await sql<{ name: string }>`
      select d.name from tenantry.databases d
      where d.state <> 'deleting' and (
        (d.kind = 'replaced' and (d.drop_after <= ${nowDate(this.#deps.context)} or not exists (
          select from tenantry.rollbacks r join tenantry.tenants t on t.project_id = r.project_id and t.id = r.tenant_id and t.created_at = r.tenant_created_at
           where r.replaced_name = d.name and t.state <> 'deleting')))
        or (d.kind = 'restore' and not exists (
          select from tenantry.rollbacks r where r.database_name = d.name and r.state = any(${[...openRollback]}::text[]))))`.execute(store.db);
    await markDatabasesDeleting(
      store.db,
      gone.rows.map((row) => row.name),
    );
  }
}
