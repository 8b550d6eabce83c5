/** The first half of import-full: the source's structure into an empty workspace, without the routing column where that is asked for. */
import { GatewayError } from "../../core/errors.ts";
import type { ImportConnection, ImportOptions } from "../../core/imports.ts";
import type { SourceConnection } from "../../core/schema-design.ts";
import type { KnownWorkspace } from "../control/workspace-rows.ts";
import type { ImportsContext } from "./context.ts";
import { planDropRouting } from "./drop-routing.ts";
import type { KnownImport } from "./import-rows.ts";
import { readBlueprintTables } from "./prepare-for.ts";
import { planRouting } from "./routing.ts";

/**
 * May be repeated: a script is loaded wholly or not at all, and what is left to drop is read from what is there.
 * @returns what had no likeness here, for people.
 */
export async function loadStructure(
  context: ImportsContext,
  row: KnownImport,
  workspace: KnownWorkspace,
  connection: ImportConnection,
): Promise<readonly string[]> {
  const options = row.options as ImportOptions;
  const lost: string[] = [];
  if ((await readBlueprintTables(context, workspace)).length === 0) {
    const schema = await context.readSchema(toSourceConnection(connection));
    if (schema.sql.trim() === "") throw new GatewayError("conflict", "the source has no tables to load");
    await context.runScript(workspace.database!, schema.sql);
    lost.push(...schema.lost);
  }
  if (options.dropRoutingColumn) lost.push(...(await dropRouting(context, workspace, options)));
  await context.control.getBlueprint(workspace.projectId, workspace.name); // numbers what was captured
  return lost.map((what) => `not loaded: ${what}`);
}

const tlsOf = { disable: "off", require: "require", "verify-full": "verify" } as const;

function toSourceConnection({ engine, host, port, user, password, database, sslmode }: ImportConnection): SourceConnection {
  return { type: engine, host, port, user, password, database, tls: tlsOf[sslmode] };
}

async function dropRouting(context: ImportsContext, workspace: KnownWorkspace, options: ImportOptions): Promise<readonly string[]> {
  const tables = await readBlueprintTables(context, workspace);
  const named = tables.filter((table) => table.columns.some(({ name }) => name === options.routingField));
  if (named.length === 0) return [];
  planRouting(tables, options.routingField, options.follow); // the same words as for data, before anything is changed
  const { clusterId, name } = workspace.database!;
  const connection = await context.dialer.asAdmin(clusterId, name);
  const plan = await planDropRouting(async (text) => (await connection.query(text)).rows, named, options.routingField).finally(() =>
    connection.close(),
  );
  if (plan.statements.length > 0) await context.runScript(workspace.database!, `${plan.statements.join(";\n")};\n`);
  return plan.lost;
}
