/** PostgreSQL's ClusterDesign, put together. Everything runs as the databases' own roles: names and expressions in it are the customer's. */
import type { ClusterDesign } from "../../../core/cluster-design.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../../core/model.ts";
import type { SqlConnection } from "../../../core/sql.ts";
import { runOne } from "./apply.ts";
import { type AdminContext, inTransaction, withAdmin, withRole } from "./context.ts";
import { askUnder, invertDdl, type Surroundings } from "./invert.ts";
import { copyReferenceData, findMarked, findTable } from "./reference-data.ts";
import { translateRoleNames } from "./role-names.ts";
import { toGatewayError } from "./sql-errors.ts";

export function createPostgresDesign(context: AdminContext): ClusterDesign {
  return {
    invertDdl: (workspace, version, before) => invert(context, workspace, version, before),
    runStatements: (workspace, statements, options) =>
      withRole(context, workspace, "admin", (connection) => runStatements(connection, statements, options)).catch(refuse),
    findTable: (workspace, table) => withRole(context, workspace, "admin", (connection) => findTable(connection, table)).catch(refuse),
    findMarked: (workspace, marked) => withRole(context, workspace, "admin", (connection) => findMarked(connection, marked)).catch(refuse),
    copyReferenceData: (workspace, tables, target, options) =>
      withRole(context, workspace, "admin", (from) => withRole(context, target, "owner", (to) => copyReferenceData(from, tables, to, options))).catch(
        refuse,
      ),
  };
}

function refuse(error: unknown): never {
  throw toGatewayError(error);
}

async function invert(
  context: AdminContext,
  workspace: PhysicalDatabase,
  version: BlueprintVersion,
  before: () => Promise<PhysicalDatabase>,
): Promise<readonly string[]> {
  const objects = await withAdmin(context, workspace.clusterId, workspace.name, async (connection) => {
    const { rows } = await connection.query("SELECT l.objects FROM tdb.ddl_log l WHERE l.ddl_id = $1", [version.ddlId]);
    return (rows[0]?.objects ?? []) as readonly string[];
  });
  const ask = (database: PhysicalDatabase, role: "admin" | "owner", sql: string, values: readonly unknown[]) =>
    withRole(context, database, role, (connection) => askUnder(connection, version.searchPath, sql, values));
  const around: Surroundings = {
    objects,
    before: async (sql, values) => await ask(await before(), "owner", sql, values),
    now: (sql, values) => ask(workspace, "admin", sql, values),
  };
  return (await invertDdl(version, around)).map((sql) => translateRoleNames(sql, workspace.name));
}

async function runStatements(
  connection: SqlConnection,
  statements: readonly string[],
  options: { readonly searchPath: string; readonly transactional: boolean },
): Promise<void> {
  await connection.query("SELECT pg_catalog.set_config('search_path', $1, false)", [options.searchPath]);
  const run = async () => {
    for (const sql of statements) await runOne(connection, sql);
  };
  try {
    await (options.transactional ? inTransaction(connection, run) : run());
  } catch (error) {
    const refusal = toGatewayError(error);
    if (!(refusal instanceof GatewayError) || refusal.kind !== "query_failed") throw refusal;
    throw new GatewayError("conflict", refusal.message, {
      sqlstate: refusal.sqlstate,
      ...(refusal.details.hint !== undefined && { hint: refusal.details.hint }),
      cause: error,
    });
  }
}
