/** The preparation of an import against a workspace: its blueprint's tables are read from the workspace's own database. */
import type { ImportOptions } from "../../core/imports.ts";
import type { KnownWorkspace } from "../control/workspace-rows.ts";
import type { SourceCatalog } from "./catalog.ts";
import type { ImportsContext } from "./context.ts";
import { convertPostgres } from "./match-columns.ts";
import { convertMysql } from "./mysql-catalog.ts";
import { readPostgresCatalog } from "./postgres-catalog.ts";
import { type Preparation, prepare } from "./prepare.ts";
import type { ImportSource } from "./source.ts";

export interface Prepared {
  readonly catalog: SourceCatalog;
  readonly preparation: Preparation;
  /** The blueprint's version the comparison holds for. */
  readonly version: number;
}

/** @param kind full: the tables are still to be made, nothing is compared. */
export async function prepareFor(
  context: ImportsContext,
  source: ImportSource,
  workspace: KnownWorkspace,
  options: ImportOptions,
  kind: "data" | "full",
): Promise<Prepared> {
  const catalog = await source.readCatalog();
  const convert = source.engine === "MySQL" ? convertMysql : convertPostgres;
  if (kind === "full") {
    const preparation = prepare(catalog, undefined, options, convert);
    const isEmpty = (await readBlueprintTables(context, workspace)).length === 0;
    const problem = `workspace '${workspace.name}' already has tables: use import-data, or an empty workspace`;
    return { catalog, preparation: isEmpty ? preparation : { ...preparation, problems: [...preparation.problems, problem] }, version: 0 };
  }
  const { version } = await context.control.getBlueprint(workspace.projectId, workspace.name);
  const target = await readBlueprintTables(context, workspace);
  return { catalog, preparation: prepare(catalog, target, options, convert), version };
}

export async function readBlueprintTables(context: ImportsContext, workspace: KnownWorkspace): Promise<SourceCatalog["tables"]> {
  const database = workspace.database!;
  const connection = await context.dialer.asAdmin(database.clusterId, database.name);
  try {
    return (await readPostgresCatalog(async (text) => (await connection.query(text)).rows)).tables;
  } finally {
    await connection.close();
  }
}
