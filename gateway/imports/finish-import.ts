/** How an import ends: what became of its tenants, and whether every row is accounted for. */
import { sql } from "kysely";
import type { ImportOptions, ImportTable } from "../../core/imports.ts";
import { type ImportsContext, nowDate } from "./context.ts";
import { sumUnowned } from "./count.ts";
import type { KnownImport } from "./import-rows.ts";

/** @param failure what kept tenants from being tried. Its connection is kept for another try unless all is done. */
export async function finishImport(context: ImportsContext, claimed: KnownImport, failure: string | undefined): Promise<void> {
  await context.store.transaction(async (trx) => {
    const row = await trx.selectFrom("imports").selectAll().where("id", "=", claimed.id).forUpdate().executeTakeFirst();
    if (row?.claimed_by !== context.claims.key || row.state !== "running") return; // somebody else has it by now
    const left = await trx
      .selectFrom("import_tenants")
      .select(["state", sql<number>`count(*)`.as("tenants")])
      .where("import_id", "=", row.id)
      .groupBy("state")
      .execute();
    const count = (state: string) => Number(left.find((entry) => entry.state === state)?.tenants ?? 0);
    const open = count("pending") + count("running");
    // Without a snapshot it never came to know its tenants.
    const cancelled = row.cancel_requested && (open > 0 || row.snapshots === 0);
    if (cancelled) {
      await trx
        .updateTable("import_tenants")
        .set({ state: "cancelled", rows: 0 })
        .where("import_id", "=", row.id)
        .where("state", "in", ["pending", "running"])
        .execute();
    }
    const complete = !failure && open === 0 && count("failed") === 0 && !cancelled;
    const missing = complete ? await findMissing(context, row) : undefined;
    const error = failure ?? missing ?? (count("failed") > 0 ? `${count("failed")} of ${count("done") + count("failed")} tenants failed` : null);
    const state = cancelled ? "cancelled" : error !== null || open > 0 ? "failed" : "done";
    const finished = { state, error, finished_at: nowDate(context), claimed_by: null } as const;
    await trx
      .updateTable("imports")
      .set(state === "done" ? { ...finished, connection: null } : finished)
      .where("id", "=", row.id)
      .execute();
    context.log.write("info", "import ended", { import: row.id, state });
  });
}

/** A stopping instance lets go, so that another may carry on at once. */
export async function releaseImport(context: ImportsContext, importId: string): Promise<void> {
  await context.store.db
    .updateTable("imports")
    .set({ claimed_by: null })
    .where("id", "=", importId)
    .where("claimed_by", "=", context.claims.key)
    .execute();
}

/**
 * All rows of a table are some tenant's or nobody's, so what was written and what was left must be all there was.
 * Only holds within one snapshot: where there were several, each tenant was compared for itself.
 */
async function findMissing(context: ImportsContext, row: KnownImport): Promise<string | undefined> {
  if (row.snapshots !== 1) return undefined;
  const written = await context.store.db
    .selectFrom("import_tenants")
    .select(sql<string>`t.entry->>'table'`.as("table"))
    .select(sql<number>`sum((t.entry->>'rows')::bigint)::bigint`.as("rows"))
    .innerJoin(sql<{ entry: unknown }>`jsonb_array_elements(tables)`.as<"t">(sql`t(entry)`), (join) => join.onTrue())
    .where("import_id", "=", row.id)
    .groupBy(sql`t.entry->>'table'`)
    .execute();
  const rowsOf = new Map(written.map((entry) => [entry.table, Number(entry.rows)]));
  const wrong = (row.tables as readonly ImportTable[]).flatMap((table) => {
    if (table.route === "shared" || table.route === "skipped") return [];
    const expected = table.rows - sumUnowned([table]);
    const found = rowsOf.get(table.table) ?? 0;
    return expected === found ? [] : [`${table.table} (${expected} belong to tenants, ${found} were written)`];
  });
  if (wrong.length === 0) return undefined;
  const { routingField } = row.options as ImportOptions;
  return `rows are not accounted for: ${wrong.join("; ")}. Look at values of ${routingField} that are equal and not the same`;
}
