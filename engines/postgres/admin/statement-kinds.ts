/** What PostgreSQL does with a kind of statement: fires DDL event triggers or not, inside a transaction block or only alone. */
import type { Fields, Statement } from "./parser.ts";

/** Kinds for which no event trigger fires and which change no permanent object by themselves. */
const plainKinds = new Set([
  ...["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CallStmt", "DoStmt", "PrepareStmt", "ExecuteStmt", "DeallocateStmt"],
  ...["ExplainStmt", "DeclareCursorStmt", "FetchStmt", "ClosePortalStmt", "CopyStmt", "TransactionStmt", "ConstraintsSetStmt", "VariableSetStmt"],
  ...["VariableShowStmt", "LockStmt", "TruncateStmt", "ListenStmt", "UnlistenStmt", "NotifyStmt", "DiscardStmt", "CheckPointStmt", "LoadStmt"],
  ...["VacuumStmt", "ClusterStmt", "RefreshMatViewStmt", "ReindexStmt"],
]);

/** DDL of cluster-wide objects: event triggers do not fire for it. */
const clusterWideKinds = new Set([
  ...["CreatedbStmt", "DropdbStmt", "AlterDatabaseStmt", "AlterDatabaseSetStmt", "AlterDatabaseRefreshCollStmt", "CreateRoleStmt", "AlterRoleStmt"],
  ...["AlterRoleSetStmt", "DropRoleStmt", "GrantRoleStmt", "AlterSystemStmt", "CreateTableSpaceStmt", "DropTableSpaceStmt"],
  ...["AlterTableSpaceOptionsStmt", "AlterTableSpaceMoveAllStmt", "CreateEventTrigStmt", "AlterEventTrigStmt", "ReassignOwnedStmt"],
]);

/** Data maintenance that fires event triggers all the same. */
const firingMaintenance = new Set(["RefreshMatViewStmt", "ReindexStmt"]);

/** Anything that creates, alters or drops a permanent object or its privileges. Temporary tables are not DDL. */
export function isDdl(statement: Statement): boolean {
  const { kind, fields } = statement;
  if (kind === "SelectStmt") return fields.intoClause !== undefined && !isTemporary(fields);
  if (plainKinds.has(kind)) return false;
  if (kind === "CreateStmt" || kind === "CreateTableAsStmt" || kind === "ViewStmt" || kind === "CreateSeqStmt") return !isTemporary(fields);
  return true;
}

/** True when ddl_command_end fires for it. */
export function firesEventTrigger({ kind, fields }: Statement): boolean {
  if (kind === "SelectStmt") return fields.intoClause !== undefined;
  return firingMaintenance.has(kind) || !(plainKinds.has(kind) || clusterWideKinds.has(kind));
}

/** False for what PostgreSQL refuses inside a transaction block. */
export function isTransactional(sql: Statement): boolean {
  const { kind, fields } = sql;
  if (kind === "IndexStmt" || kind === "DropStmt") return fields.concurrent !== true;
  if (kind === "ReindexStmt")
    return !(has(fields.params, "concurrently") || ["REINDEX_OBJECT_SCHEMA", "REINDEX_OBJECT_DATABASE"].includes(String(fields.kind)));
  if (kind === "AlterTableStmt") return !has(fields.cmds, true, "concurrent");
  return kind !== "VacuumStmt";
}

/** The workspace's admin can hand objects to nobody but itself, and a tenant's owner has them already. */
export function isOwnerChangeOnly({ kind, fields }: Statement): boolean {
  if (kind === "AlterOwnerStmt") return true;
  if (kind !== "AlterTableStmt" || !Array.isArray(fields.cmds)) return false;
  return fields.cmds.every((command: { AlterTableCmd?: Fields }) => command.AlterTableCmd?.subtype === "AT_ChangeOwner");
}

/** @param temporary names of the session's temporary relations, which come before others of the same name */
export function isGrantOnTemporary({ kind, fields }: Statement, temporary: readonly string[]): boolean {
  if (kind !== "GrantStmt" || !Array.isArray(fields.objects) || fields.objects.length === 0) return false;
  return fields.objects.every(({ RangeVar: relation }: { RangeVar?: Fields }) => {
    if (relation === undefined) return false;
    const schema = relation.schemaname;
    return schema === undefined ? temporary.includes(String(relation.relname)) : String(schema).startsWith("pg_temp");
  });
}

/** The statement a command tag may belong to: `CREATE INDEX` and `create unique index …`. */
export function fitsTag(statement: Statement, tag: string): boolean {
  let from = 0;
  for (const word of tag.split(" ")) {
    const at = statement.words.indexOf(word, from);
    if (at === -1) return false;
    from = at + 1;
  }
  return true;
}

function isTemporary(fields: Fields): boolean {
  const text = JSON.stringify([fields.relation, fields.into, fields.intoClause, fields.view, fields.sequence]);
  return text.includes('"relpersistence":"t"') || text.includes('"schemaname":"pg_temp"');
}

function has(tree: unknown, value: unknown, key?: string): boolean {
  if (typeof tree !== "object" || tree === null) return key === undefined && tree === value;
  return Object.entries(tree).some(([name, inner]) => (key === name && inner === value) || has(inner, value, key));
}
