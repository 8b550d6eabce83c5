/** Blueprint versions as the store has them. */
import type { Kysely } from "kysely";
import type { BlueprintVersion } from "../../core/model.ts";
import { toBlueprintVersion } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";

/** Versions 1 … `upTo`, oldest first. */
export async function loadVersions(db: Kysely<Tables>, workspaceId: string, upTo: number, from = 1): Promise<readonly BlueprintVersion[]> {
  const rows = await db
    .selectFrom("blueprint_versions")
    .selectAll()
    .where("workspace_id", "=", workspaceId)
    .where("version", ">=", from)
    .where("version", "<=", upTo)
    .orderBy("version")
    .execute();
  return rows.map(toBlueprintVersion);
}

/** How many tenants are at which version; those in the trash do not count. */
export async function countBehind(
  db: Kysely<Tables>,
  workspaceId: string,
): Promise<readonly { readonly version: number; readonly tenants: number }[]> {
  const rows = await db
    .selectFrom("tenant_databases as td")
    .innerJoin("tenants as t", (join) => join.onRef("t.project_id", "=", "td.project_id").onRef("t.id", "=", "td.tenant_id"))
    .select((eb) => ["td.version", eb.fn.countAll<number>().as("tenants")])
    .where("td.workspace_id", "=", workspaceId)
    .where("td.state", "=", "ready")
    .where("t.state", "in", ["ready", "suspended"])
    .groupBy("td.version")
    .orderBy("td.version")
    .execute();
  return rows.map((row) => ({ version: row.version, tenants: Number(row.tenants) }));
}

/** Versions not on every tenant; all of them where there is none yet. Skipped ones are never deployed and not among them. */
export async function loadUndeployed(db: Kysely<Tables>, workspaceId: string): Promise<readonly BlueprintVersion[]> {
  const [furthestBehind] = await countBehind(db, workspaceId);
  const versions = await loadVersions(db, workspaceId, 2_147_483_647, (furthestBehind?.version ?? 0) + 1);
  return versions.filter((version) => version.skippedAt === undefined);
}
