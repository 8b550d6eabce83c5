/** The statements that undo a captured one: by its parse tree, and where the old state is needed by asking a database of the version before. */
import { GatewayError } from "../../../core/errors.ts";
import type { BlueprintVersion } from "../../../core/model.ts";
import { quoteIdentifier, type SqlConnection } from "../../../core/sql.ts";
import { invertAlterTable } from "./invert-alter-table.ts";
import { invertRename } from "./invert-rename.ts";
import { type Fields, ParseError, parseStatements, type Statement } from "./parser.ts";

/** What an inverse may need to know. */
export interface Surroundings {
  /** Identities of the objects the statement made, as the capture noted them: `public.orders_state_idx`. */
  readonly objects: readonly string[];
  /** One row of a query in a database of the version before, under the statement's search_path. */
  before(sql: string, values: readonly unknown[]): Promise<Readonly<Record<string, unknown>> | undefined>;
  /** The same in the workspace as it is. */
  now(sql: string, values: readonly unknown[]): Promise<Readonly<Record<string, unknown>> | undefined>;
}

/** Why there is no inverse; becomes a `conflict` that names the statement. */
export class NoInverse extends Error {}

/** @throws {GatewayError} conflict saying why, where there is no inverse. */
export async function invertDdl(version: BlueprintVersion, around: Surroundings): Promise<readonly string[]> {
  try {
    const [statement, ...more] = await parseStatements(version.sql);
    if (!statement || more.length > 0) throw new NoInverse("it is not one statement that can be read");
    return await invert(statement, around);
  } catch (error) {
    if (!(error instanceof NoInverse) && !(error instanceof ParseError)) throw error;
    throw new GatewayError("conflict", `Cannot undo version ${version.version} (${version.commandTag}): ${error.message}`, {
      hint: "Run the statement that puts it right in the workspace yourself; what no tenant has yet can be skipped as well.",
    });
  }
}

async function invert(statement: Statement, around: Surroundings): Promise<readonly string[]> {
  const { kind, fields } = statement;
  if (kind === "AlterTableStmt") return await invertAlterTable(fields, around);
  if (kind === "RenameStmt") return invertRename(fields);
  if (kind === "AlterEnumStmt") return invertEnumChange(fields);
  if (kind === "DropStmt") return await invertDrop(fields, around);
  if (kind === "AlterObjectSchemaStmt") return await invertSetSchema(fields, around);
  return await invertCreate(statement, around);
}

/** `RangeVar` of a tree, quoted. */
export function relationName(relation: unknown): string {
  const { schemaname, relname } = (relation ?? {}) as Fields;
  return schemaname === undefined ? quoteIdentifier(String(relname)) : `${quoteIdentifier(String(schemaname))}.${quoteIdentifier(String(relname))}`;
}

/** A list of `String` nodes, quoted: `"schema"."name"`. */
export function qualifiedName(names: unknown): string {
  const parts = Array.isArray(names) ? names : ((names as { List?: { items?: unknown[] } })?.List?.items ?? []);
  return parts.map((part: { String?: { sval?: string } }) => quoteIdentifier(part.String?.sval ?? "")).join(".");
}

/** What is made by a statement that names it: kind of node → how to drop it. */
const named: Readonly<Record<string, (fields: Fields) => string>> = {
  CreateStmt: (fields) => `TABLE ${relationName(fields.relation)}`,
  CreateForeignTableStmt: (fields) => `FOREIGN TABLE ${relationName((fields.base as Fields | undefined)?.relation)}`,
  CreateTableAsStmt: (fields) =>
    `${fields.objtype === "OBJECT_MATVIEW" ? "MATERIALIZED VIEW" : "TABLE"} ${relationName((fields.into as Fields).rel)}`,
  CreateSeqStmt: (fields) => `SEQUENCE ${relationName(fields.sequence)}`,
  CreateSchemaStmt: (fields) => `SCHEMA ${quoteIdentifier(String(fields.schemaname))}${fields.schemaElts ? " CASCADE" : ""}`,
  CreateEnumStmt: (fields) => `TYPE ${qualifiedName(fields.typeName)}`,
  CreateRangeStmt: (fields) => `TYPE ${qualifiedName(fields.typeName)}`,
  CompositeTypeStmt: (fields) => `TYPE ${relationName(fields.typevar)}`,
  CreateDomainStmt: (fields) => `DOMAIN ${qualifiedName(fields.domainname)}`,
  CreateExtensionStmt: (fields) => `EXTENSION ${quoteIdentifier(String(fields.extname))}`,
  CreatePolicyStmt: (fields) => `POLICY ${quoteIdentifier(String(fields.policy_name))} ON ${relationName(fields.table)}`,
};

/** What is found again by the identity the capture noted. */
const identified: Readonly<Record<string, string>> = { CreateStatsStmt: "STATISTICS", CreateCastStmt: "CAST" };

const defined: Readonly<Record<string, string>> = {
  OBJECT_AGGREGATE: "AGGREGATE",
  OBJECT_OPERATOR: "OPERATOR",
  OBJECT_COLLATION: "COLLATION",
  OBJECT_TYPE: "TYPE",
  OBJECT_TSCONFIGURATION: "TEXT SEARCH CONFIGURATION",
  OBJECT_TSDICTIONARY: "TEXT SEARCH DICTIONARY",
};

async function invertCreate(statement: Statement, around: Surroundings): Promise<readonly string[]> {
  const { kind, fields } = statement;
  const name = named[kind];
  if (name) return [`DROP ${name(fields)}`];
  if (kind === "SelectStmt" && fields.intoClause) return [`DROP TABLE ${relationName((fields.intoClause as Fields).rel)}`];
  if (kind === "IndexStmt") return [`DROP INDEX ${fields.concurrent === true ? "CONCURRENTLY " : ""}${onlyObject(around)}`];
  if (kind === "ViewStmt") return await invertView(fields, around);
  if (kind === "CreateFunctionStmt") return await invertFunction(fields, around);
  if (kind === "CreateTrigStmt") return await invertTrigger(fields, around);
  if (kind === "RuleStmt" && fields.replace !== true)
    return [`DROP RULE ${quoteIdentifier(String(fields.rulename))} ON ${relationName(fields.relation)}`];
  const sort = kind === "DefineStmt" ? defined[String(fields.kind)] : identified[kind];
  if (sort) return [`DROP ${sort} ${onlyObject(around)}`];
  if (kind === "GrantStmt" || kind === "AlterDefaultPrivilegesStmt")
    throw new NoInverse("what was granted before is not known; grant or revoke it yourself");
  if (kind === "SelectStmt" || kind === "CallStmt" || kind === "DoStmt") throw new NoInverse("it called a function that made changes");
  throw new NoInverse("there is no inverse for this kind of statement");
}

function onlyObject({ objects }: Surroundings): string {
  const [object, ...more] = objects;
  if (object === undefined || more.length > 0) throw new NoInverse("the name of what it made is not known");
  return object;
}

async function invertView(fields: Fields, around: Surroundings): Promise<readonly string[]> {
  const view = relationName(fields.view);
  const old =
    fields.replace === true
      ? await around.before(
          `SELECT pg_catalog.pg_get_viewdef(c.oid) AS definition, pg_catalog.array_to_string(c.reloptions, ', ') AS options
             FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind = 'v'`,
          [view],
        )
      : undefined;
  if (!old) return [`DROP VIEW ${view}`];
  const options = old.options ? ` WITH (${String(old.options)})` : "";
  // Columns that were added cannot be taken away by CREATE OR REPLACE.
  return [`DROP VIEW ${view}`, `CREATE VIEW ${view}${options} AS ${String(old.definition).replace(/;\s*$/, "")}`];
}

async function invertFunction(fields: Fields, around: Surroundings): Promise<readonly string[]> {
  const identity = onlyObject(around);
  const old =
    fields.replace === true
      ? await around.before("SELECT pg_catalog.pg_get_functiondef(pg_catalog.to_regprocedure($1)) AS definition", [identity])
      : undefined;
  if (old?.definition) return [String(old.definition).trimEnd()];
  return [`DROP ${fields.is_procedure === true ? "PROCEDURE" : "FUNCTION"} ${identity}`];
}

const triggerSql = `SELECT pg_catalog.pg_get_triggerdef(t.oid) AS definition FROM pg_catalog.pg_trigger t
  WHERE t.tgrelid = pg_catalog.to_regclass($1) AND t.tgname = $2 AND NOT t.tgisinternal`;

async function invertTrigger(fields: Fields, around: Surroundings): Promise<readonly string[]> {
  const [table, name] = [relationName(fields.relation), String(fields.trigname)];
  const drop = `DROP TRIGGER ${quoteIdentifier(name)} ON ${table}`;
  const old = fields.replace === true ? await around.before(triggerSql, [table, name]) : undefined;
  return old ? [drop, String(old.definition)] : [drop];
}

function invertEnumChange(fields: Fields): readonly string[] {
  if (fields.oldVal === undefined) throw new NoInverse("PostgreSQL cannot take a value away from an enum");
  const literal = (value: unknown) => `'${String(value).replaceAll("'", "''")}'`;
  return [`ALTER TYPE ${qualifiedName(fields.typeName)} RENAME VALUE ${literal(fields.newVal)} TO ${literal(fields.oldVal)}`];
}

/** What PostgreSQL can write out again and holds no rows. */
const definitions: Readonly<Record<string, string>> = {
  OBJECT_INDEX: "SELECT pg_catalog.pg_get_indexdef(pg_catalog.to_regclass($1)) AS definition",
  OBJECT_VIEW: `SELECT 'CREATE VIEW ' || $1 || ' AS ' || pg_catalog.rtrim(pg_catalog.pg_get_viewdef(pg_catalog.to_regclass($1)), ';') AS definition`,
};

async function invertDrop(fields: Fields, around: Surroundings): Promise<readonly string[]> {
  const type = String(fields.removeType);
  const objects = (fields.objects ?? []) as unknown[];
  if (fields.behavior === "DROP_CASCADE") throw new NoInverse("what CASCADE took with it is not known");
  if (type === "OBJECT_TABLE" || type === "OBJECT_MATVIEW" || type === "OBJECT_SEQUENCE") throw new NoInverse("what was in it is gone");
  const sql = definitions[type];
  if (sql === undefined && type !== "OBJECT_TRIGGER") throw new NoInverse("what it was is not known any more");
  const made: string[] = [];
  for (const object of objects) {
    const parts = ((object as { List?: { items?: { String?: { sval?: string } }[] } }).List?.items ?? []).map((part) => part.String?.sval ?? "");
    const old =
      sql === undefined
        ? await around.before(triggerSql, [parts.slice(0, -1).map(quoteIdentifier).join("."), parts.at(-1)])
        : await around.before(sql, [parts.map(quoteIdentifier).join(".")]);
    if (typeof old?.definition !== "string") throw new NoInverse("what it was is not known any more");
    made.push(old.definition);
  }
  return made.reverse();
}

async function invertSetSchema(fields: Fields, around: Surroundings): Promise<readonly string[]> {
  const kinds: Record<string, string> = {
    OBJECT_TABLE: "TABLE",
    OBJECT_VIEW: "VIEW",
    OBJECT_MATVIEW: "MATERIALIZED VIEW",
    OBJECT_SEQUENCE: "SEQUENCE",
  };
  const kind = kinds[String(fields.objectType)];
  if (kind === undefined || !fields.relation) throw new NoInverse("there is no inverse for this kind of statement");
  const { schemaname, relname } = fields.relation as Fields;
  const old =
    schemaname ??
    (
      await around.before(
        "SELECT n.nspname AS schema FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass($1)",
        [quoteIdentifier(String(relname))],
      )
    )?.schema;
  if (old === undefined) throw new NoInverse("the schema it was in is not known");
  const now = `${quoteIdentifier(String(fields.newschema))}.${quoteIdentifier(String(relname))}`;
  return [`ALTER ${kind} ${now} SET SCHEMA ${quoteIdentifier(String(old))}`];
}

/** Questions are asked as the statement would have asked: names without a schema mean what they meant then. */
export async function askUnder(connection: SqlConnection, searchPath: string, sql: string, values: readonly unknown[]) {
  await connection.query("SELECT pg_catalog.set_config('search_path', $1, false)", [searchPath]);
  return (await connection.query(sql, values)).rows[0];
}
