/** Schemas loaded into a workspace: from a template, JSON, SQL text or another database, all as SQL that is run and captured like anybody's. */
import { GatewayError } from "../../core/errors.ts";
import type { ForeignSchema, LoadedSchema, SchemaSource } from "../../core/schema-design.ts";
import type { SqlErrorShape } from "../../core/sql.ts";
import { writeJsonSchema } from "../schemas/json-schema.ts";
import { templates } from "../schemas/templates/templates.ts";
import { syncBlueprint } from "./blueprints.ts";
import type { ControlContext } from "./context.ts";
import { loadVersions } from "./versions.ts";
import { findWorkspace, type KnownWorkspace } from "./workspace-rows.ts";

export async function readSchema(context: ControlContext, projectId: string, nameOrId: string) {
  const workspace = await findLoadable(context, projectId, nameOrId);
  const [tables, version] = await Promise.all([context.admin.describeSchema(workspace.database!), syncBlueprint(context, workspace)]);
  return { version, tables };
}

export async function loadSchema(context: ControlContext, projectId: string, nameOrId: string, source: SchemaSource): Promise<LoadedSchema> {
  const workspace = await findLoadable(context, projectId, nameOrId);
  const before = await syncBlueprint(context, workspace);
  const { sql, lost } = await readSource(context, source);
  if (sql.trim() === "") throw new GatewayError("bad_request", "Nothing to load: the source has no tables");
  await context.admin.runScript(workspace.database!, sql).catch((error: unknown) => {
    throw loadFailed(error, sql, source);
  });
  const version = await syncBlueprint(context, { ...workspace, version: before });
  return { version, versions: await loadVersions(context.store.db, workspace.id, version, before + 1), lost };
}

async function findLoadable(context: ControlContext, projectId: string, nameOrId: string): Promise<KnownWorkspace> {
  const workspace = await findWorkspace(context.store.db, projectId, nameOrId);
  if (workspace.engine !== "PostgreSQL") {
    throw new GatewayError("bad_request", `workspace "${workspace.name}" is ${workspace.engine}; only PostgreSQL has a schema here`);
  }
  if (workspace.state !== "ready" || !workspace.database) throw new GatewayError("not_ready", `workspace "${workspace.name}" is still being created`);
  return workspace;
}

async function readSource(context: ControlContext, source: SchemaSource): Promise<ForeignSchema> {
  switch (source.source) {
    case "template":
      return { sql: templates[source.template], lost: [] };
    case "json":
      return { sql: writeJsonSchema(source.tables), lost: [] };
    case "sql":
      return { sql: source.sql, lost: [] };
    case "database":
      return await context.readForeignSchema(source.connection);
  }
}

/** Where in a text of the caller's it went wrong; of a text of ours the statement says more than a line number. */
function loadFailed(error: unknown, sql: string, source: SchemaSource): unknown {
  if (!(error instanceof GatewayError) || error.kind !== "query_failed") return error;
  const position = Number((error.details.cause as Partial<SqlErrorShape> | undefined)?.position);
  if (!(position > 0)) return error;
  const text = sql.slice(0, position - 1);
  const line = text.split("\n").length;
  const place =
    source.source === "sql"
      ? `line ${line}`
      : `"${sql
          .slice(text.lastIndexOf("\n") + 1)
          .split("\n")[0]
          ?.slice(0, 120)
          .trim()}"`;
  const { hint } = error.details;
  return new GatewayError("query_failed", `${error.message} (at ${place}); nothing was loaded`, {
    sqlstate: error.sqlstate,
    ...(hint !== undefined && { hint }),
    cause: error,
  });
}
