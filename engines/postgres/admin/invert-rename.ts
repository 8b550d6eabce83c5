/** The inverse of ALTER … RENAME: the names change places. */
import { quoteIdentifier } from "../../../core/sql.ts";
import { NoInverse, qualifiedName, relationName } from "./invert.ts";
import type { Fields } from "./parser.ts";

const relations: Readonly<Record<string, string>> = {
  OBJECT_TABLE: "TABLE",
  OBJECT_VIEW: "VIEW",
  OBJECT_MATVIEW: "MATERIALIZED VIEW",
  OBJECT_INDEX: "INDEX",
  OBJECT_SEQUENCE: "SEQUENCE",
  OBJECT_FOREIGN_TABLE: "FOREIGN TABLE",
};

/** Things inside or on a relation. */
const members: Readonly<Record<string, string>> = { OBJECT_COLUMN: "COLUMN", OBJECT_TABCONSTRAINT: "CONSTRAINT" };
const onRelation: Readonly<Record<string, string>> = { OBJECT_TRIGGER: "TRIGGER", OBJECT_POLICY: "POLICY", OBJECT_RULE: "RULE" };

export function invertRename(fields: Fields): readonly string[] {
  const type = String(fields.renameType);
  const newName = String(fields.newname);
  const [now, old] = [quoteIdentifier(newName), quoteIdentifier(String(fields.subname ?? (fields.relation as Fields | undefined)?.relname))];
  if (relations[type]) return [`ALTER ${relations[type]} ${relationName({ ...(fields.relation as Fields), relname: newName })} RENAME TO ${old}`];
  if (members[type]) {
    const kind = relations[String(fields.relationType ?? "OBJECT_TABLE")] ?? "TABLE";
    return [`ALTER ${kind} ${relationName(fields.relation)} RENAME ${members[type]} ${now} TO ${old}`];
  }
  if (onRelation[type]) return [`ALTER ${onRelation[type]} ${now} ON ${relationName(fields.relation)} RENAME TO ${old}`];
  if (type === "OBJECT_SCHEMA") return [`ALTER SCHEMA ${now} RENAME TO ${old}`];
  if (type === "OBJECT_TYPE" || type === "OBJECT_DOMAIN") return [renameType(fields, newName, type)];
  throw new NoInverse("there is no inverse for this kind of statement");
}

function renameType(fields: Fields, newName: string, type: string): string {
  const items = (fields.object as { List?: { items?: { String?: { sval?: string } }[] } } | undefined)?.List?.items ?? [];
  const old = items.at(-1)?.String?.sval;
  if (old === undefined) throw new NoInverse("the old name is not known");
  const now = qualifiedName([...items.slice(0, -1), { String: { sval: newName } }]);
  return `ALTER ${type === "OBJECT_DOMAIN" ? "DOMAIN" : "TYPE"} ${now} RENAME TO ${quoteIdentifier(old)}`;
}
