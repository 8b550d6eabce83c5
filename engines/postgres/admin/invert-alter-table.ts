/** The inverse of ALTER TABLE: each of its commands undone, the last one first. */
import { quoteIdentifier } from "../../../core/sql.ts";
import { NoInverse, relationName, type Surroundings } from "./invert.ts";
import type { Fields } from "./parser.ts";

interface Target {
  readonly table: string;
  readonly around: Surroundings;
}

/** Commands that have a twin. */
const twins: Readonly<Record<string, string>> = {
  AT_EnableRowSecurity: "DISABLE ROW LEVEL SECURITY",
  AT_DisableRowSecurity: "ENABLE ROW LEVEL SECURITY",
  AT_ForceRowSecurity: "NO FORCE ROW LEVEL SECURITY",
  AT_NoForceRowSecurity: "FORCE ROW LEVEL SECURITY",
};
const triggerTwins: Readonly<Record<string, string>> = { AT_EnableTrig: "DISABLE TRIGGER", AT_DisableTrig: "ENABLE TRIGGER" };

/** Why there is none, where it is worth saying. */
const losses: Readonly<Record<string, string>> = {
  AT_DropColumn: "the values of the column are gone",
  AT_AlterColumnType: "changing the type back may lose values; write the ALTER COLUMN … TYPE … USING yourself",
};

export async function invertAlterTable(fields: Fields, around: Surroundings): Promise<readonly string[]> {
  if (fields.objtype !== "OBJECT_TABLE") throw new NoInverse("there is no inverse for this kind of statement");
  const target = { table: relationName(fields.relation), around };
  const undone: string[] = [];
  for (const { AlterTableCmd: command } of ((fields.cmds ?? []) as { AlterTableCmd: Fields }[]).toReversed()) {
    undone.push(`ALTER TABLE ${target.table} ${await invertCommand(command, target)}`);
  }
  return undone;
}

async function invertCommand(command: Fields, target: Target): Promise<string> {
  const type = String(command.subtype);
  const name = command.name === undefined ? "" : quoteIdentifier(String(command.name));
  if (twins[type]) return twins[type];
  if (triggerTwins[type]) return `${triggerTwins[type]} ${name}`;
  if (losses[type]) throw new NoInverse(losses[type]);
  switch (type) {
    case "AT_AddColumn":
      return await dropAdded(command, target);
    case "AT_AddConstraint":
      return `DROP CONSTRAINT ${quoteIdentifier(await constraintName(command, target))}`;
    case "AT_DropConstraint":
      return `ADD CONSTRAINT ${name} ${await constraintBefore(String(command.name), target)}`;
    case "AT_SetNotNull":
    case "AT_DropNotNull":
      return `ALTER COLUMN ${name} ${(await columnBefore(String(command.name), target)).required === true ? "SET" : "DROP"} NOT NULL`;
    case "AT_ColumnDefault":
      return await defaultBefore(String(command.name), target);
    case "AT_AttachPartition":
      return `DETACH PARTITION ${relationName(partitionOf(command))}`;
    case "AT_DetachPartition":
      return `ATTACH PARTITION ${relationName(partitionOf(command))} ${await boundBefore(relationName(partitionOf(command)), target)}`;
    default:
      throw new NoInverse("there is no inverse for one of its commands");
  }
}

function partitionOf(command: Fields): unknown {
  return (command.def as { PartitionCmd?: Fields } | undefined)?.PartitionCmd?.name;
}

async function dropAdded(command: Fields, target: Target): Promise<string> {
  const name = String((command.def as { ColumnDef?: Fields } | undefined)?.ColumnDef?.colname);
  if (command.missing_ok === true && (await findColumn(name, target))) throw new NoInverse(`column "${name}" was there before`);
  return `DROP COLUMN ${quoteIdentifier(name)}`;
}

/** Without a name of its own it is the one constraint of the table that was not there before. */
async function constraintName(command: Fields, { table, around }: Target): Promise<string> {
  const given = (command.def as { Constraint?: Fields } | undefined)?.Constraint?.conname;
  if (given !== undefined) return String(given);
  const sql =
    "SELECT coalesce(pg_catalog.array_agg(k.conname::pg_catalog.text), '{}') AS names FROM pg_catalog.pg_constraint k WHERE k.contype <> 'n' AND k.conrelid = pg_catalog.to_regclass($1)";
  const names = async (ask: Surroundings["before"]) => ((await ask(sql, [table]))?.names ?? []) as string[];
  const old = await names(around.before);
  const fresh = (await names(around.now)).filter((name) => !old.includes(name));
  if (fresh.length !== 1) throw new NoInverse("PostgreSQL named the constraint, and others came after it");
  return fresh[0]!;
}

async function constraintBefore(name: string, { table, around }: Target): Promise<string> {
  const found = await around.before(
    "SELECT pg_catalog.pg_get_constraintdef(k.oid) AS definition FROM pg_catalog.pg_constraint k WHERE k.conrelid = pg_catalog.to_regclass($1) AND k.conname = $2",
    [table, name],
  );
  if (!found) throw new NoInverse("what the constraint was is not known any more");
  return String(found.definition);
}

async function defaultBefore(name: string, target: Target): Promise<string> {
  const { expression } = await columnBefore(name, target);
  return `ALTER COLUMN ${quoteIdentifier(name)} ${typeof expression === "string" ? `SET DEFAULT ${expression}` : "DROP DEFAULT"}`;
}

async function columnBefore(name: string, target: Target): Promise<Readonly<Record<string, unknown>>> {
  const found = await findColumn(name, target);
  if (!found) throw new NoInverse(`what column "${name}" was before is not known`);
  return found;
}

function findColumn(name: string, { table, around }: Target): Promise<Readonly<Record<string, unknown>> | undefined> {
  return around.before(
    `SELECT a.attnotnull AS required, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS expression FROM pg_catalog.pg_attribute a
       LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped`,
    [table, name],
  );
}

async function boundBefore(partition: string, { around }: Target): Promise<string> {
  const found = await around.before(
    "SELECT pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)",
    [partition],
  );
  if (typeof found?.bound !== "string") throw new NoInverse("the bounds of the partition are not known any more");
  return found.bound;
}
