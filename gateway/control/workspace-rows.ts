/** Look-ups of workspaces inside a project, by name or id. */
import type { Kysely } from "kysely";
import { GatewayError } from "../../core/errors.ts";
import type { Workspace } from "../../core/model.ts";
import { toWorkspace } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";

/** A workspace with what only the control plane looks at. */
export interface KnownWorkspace extends Workspace {
  /** Newest blueprint version the store has. */
  readonly version: number;
  readonly lastDdlId: number;
}

function selectWorkspaces(db: Kysely<Tables>) {
  return db
    .selectFrom("workspaces as w")
    .leftJoin("databases as d", "d.name", "w.database_name")
    .select([
      "w.id",
      "w.project_id",
      "w.name",
      "w.engine",
      "w.mode",
      "w.state",
      "w.redirect_to",
      "w.settings",
      "w.version",
      "w.last_ddl_id",
      "w.created_at",
      "w.database_name",
      "d.cluster_id",
      "d.password_generation",
    ])
    .where("w.state", "<>", "deleting");
}

type Row = Awaited<ReturnType<ReturnType<typeof selectWorkspaces>["execute"]>>[number];

function toKnown(row: Row): KnownWorkspace {
  return { ...toWorkspace(row), version: row.version, lastDdlId: row.last_ddl_id };
}

/** @throws {GatewayError} not_found, in the word the caller's noun has for it. */
export async function findWorkspace(
  db: Kysely<Tables>,
  projectId: string,
  nameOrId: string,
  noun: "Workspace" | "Blueprint" = "Workspace",
): Promise<KnownWorkspace> {
  const rows = await selectWorkspaces(db)
    .where("w.project_id", "=", projectId)
    .where((eb) => eb.or([eb("w.name", "=", nameOrId), eb("w.id", "=", nameOrId)]))
    .execute();
  const row = rows.find((r) => r.name === nameOrId) ?? rows[0];
  if (!row) throw new GatewayError("not_found", `${noun} not found: ${nameOrId}`);
  return toKnown(row);
}

/** The workspace a blueprint comes from. @throws {GatewayError} not_found, bad_request for one in control mode, conflict for one not ready. */
export async function findBlueprint(db: Kysely<Tables>, projectId: string, name: string): Promise<KnownWorkspace> {
  const workspace = await findWorkspace(db, projectId, name, "Blueprint");
  if (workspace.mode === "control") {
    throw new GatewayError("bad_request", `Workspace '${workspace.name}' is in control mode: it has no blueprint`);
  }
  if (workspace.state !== "ready") throw new GatewayError("conflict", `Workspace '${workspace.name}' is still being created`);
  return workspace;
}

export async function findWorkspaceById(db: Kysely<Tables>, workspaceId: string): Promise<KnownWorkspace | undefined> {
  const row = await selectWorkspaces(db).where("w.id", "=", workspaceId).executeTakeFirst();
  return row && toKnown(row);
}

/** In order of name, after `afterName`. */
export async function pageWorkspaces(
  db: Kysely<Tables>,
  projectId: string,
  options: { limit: number; afterName: string | undefined; mode?: "tenant" | undefined },
): Promise<KnownWorkspace[]> {
  let query = selectWorkspaces(db).where("w.project_id", "=", projectId).orderBy("w.name").limit(options.limit);
  if (options.afterName !== undefined) query = query.where("w.name", ">", options.afterName);
  if (options.mode !== undefined) query = query.where("w.mode", "=", options.mode);
  return (await query.execute()).map(toKnown);
}

/** What callers outside the control plane see. */
export function publicWorkspace(known: KnownWorkspace): Workspace {
  const { version: _version, lastDdlId: _lastDdlId, ...workspace } = known;
  return workspace;
}
