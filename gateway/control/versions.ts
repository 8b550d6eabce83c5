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

/** Versions not on every tenant; tenants in the trash do not count. */
export async function loadUndeployed(db: Kysely<Tables>, workspaceId: string): Promise<readonly BlueprintVersion[]> {
  const least = await db
    .selectFrom("tenant_databases as td")
    .innerJoin("tenants as t", (join) => join.onRef("t.project_id", "=", "td.project_id").onRef("t.id", "=", "td.tenant_id"))
    .select((eb) => eb.fn.min("td.version").as("version"))
    .where("td.workspace_id", "=", workspaceId)
    .where("td.state", "=", "ready")
    .where("t.state", "in", ["ready", "suspended"])
    .executeTakeFirst();
  if (least?.version === null || least?.version === undefined) return [];
  return await loadVersions(db, workspaceId, 2_147_483_647, least.version + 1);
}
