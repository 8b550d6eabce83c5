/** What a database's schema is made of, one line for each thing, so that two databases of one version compare equal whatever their roles are called. */
import type { SchemaObject } from "../../../core/cluster-admin.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { type AdminContext, withAdmin } from "./context.ts";

/** Outside the system's schemas and ours; what an extension brought is told by the extension's version. */
const own = (schema: string, catalog: string, oid: string) =>
  `${schema} !~ '^(pg_|information_schema$|tdb$)' AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '${catalog}'::regclass AND e.objid = ${oid} AND e.deptype = 'e')`;

/** Grants in an order of their own; the owner's are not told, since a list that was never touched leaves them out. */
const grants = (acl: string, owner: string) =>
  `coalesce((SELECT string_agg(CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END || ' ' || a.privilege_type, ', '
      ORDER BY CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END, a.privilege_type) FROM aclexplode(${acl}) a WHERE a.grantee <> ${owner}), '')`;

const relationName = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)";
const relations = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";

const objectsSql = `
WITH objects (kind, name, definition) AS (
  SELECT 'schema', quote_ident(n.nspname), concat_ws(' ', pg_get_userbyid(n.nspowner), ${grants("n.nspacl", "n.nspowner")})
    FROM pg_namespace n WHERE ${own("n.nspname", "pg_namespace", "n.oid")}
  UNION ALL
  SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'c' THEN 'type' ELSE 'foreign table' END,
         ${relationName},
         concat_ws(' ', pg_get_userbyid(c.relowner), c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions::text, pg_get_partkeydef(c.oid),
           pg_get_expr(c.relpartbound, c.oid), CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, 'grants', ${grants("c.relacl", "c.relowner")})
    FROM ${relations} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND ${own("n.nspname", "pg_class", "c.oid")}
  UNION ALL
  SELECT 'column', ${relationName} || '.' || quote_ident(a.attname),
         concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END, a.attidentity, a.attgenerated,
           'default ' || pg_get_expr(d.adbin, d.adrelid), CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
           'grants ' || nullif(${grants("a.attacl", "c.relowner")}, ''))
    FROM ${relations} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
   WHERE c.relkind IN ('r', 'p', 'f', 'c') AND ${own("n.nspname", "pg_class", "c.oid")}
  UNION ALL
  SELECT 'sequence', ${relationName}, concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle, 'grants', ${grants("c.relacl", "c.relowner")})
    FROM ${relations} JOIN pg_sequence s ON s.seqrelid = c.oid WHERE ${own("n.nspname", "pg_class", "c.oid")}
  UNION ALL
  SELECT 'index', ${relationName}, concat_ws(' ', pg_get_indexdef(c.oid), CASE WHEN NOT i.indisvalid THEN 'invalid' END)
    FROM ${relations} JOIN pg_index i ON i.indexrelid = c.oid WHERE ${own("n.nspname", "pg_class", "i.indrelid")}
  UNION ALL
  SELECT 'constraint', coalesce(k.conrelid::regclass::text, k.contypid::regtype::text) || ' ' || quote_ident(k.conname), pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE k.contype <> 't' AND ${own("n.nspname", "pg_class", "k.conrelid")}
  UNION ALL
  SELECT 'trigger', c.oid::regclass::text || ' ' || quote_ident(g.tgname), concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled)
    FROM ${relations} JOIN pg_trigger g ON g.tgrelid = c.oid WHERE NOT g.tgisinternal AND ${own("n.nspname", "pg_class", "c.oid")}
  UNION ALL
  SELECT 'rule', c.oid::regclass::text || ' ' || quote_ident(u.rulename), pg_get_ruledef(u.oid)
    FROM ${relations} JOIN pg_rewrite u ON u.ev_class = c.oid WHERE u.rulename <> '_RETURN' AND ${own("n.nspname", "pg_class", "c.oid")}
  UNION ALL
  SELECT 'policy', c.oid::regclass::text || ' ' || quote_ident(p.polname),
         concat_ws(' ', p.polcmd, p.polpermissive, (SELECT string_agg(m::regrole::text, ', ' ORDER BY m::regrole::text) FROM unnest(p.polroles) m WHERE m <> 0),
           pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
    FROM ${relations} JOIN pg_policy p ON p.polrelid = c.oid WHERE ${own("n.nspname", "pg_class", "c.oid")}
  UNION ALL
  SELECT 'function', p.oid::regprocedure::text,
         concat_ws(' ', pg_get_userbyid(p.proowner), CASE WHEN p.prokind = 'a' THEN (SELECT a::text FROM pg_aggregate a WHERE a.aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END,
           'grants', CASE WHEN p.proacl IS NULL THEN 'PUBLIC EXECUTE' ELSE ${grants("p.proacl", "p.proowner")} END)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${own("n.nspname", "pg_proc", "p.oid")}
  UNION ALL
  SELECT 'type', t.oid::regtype::text, concat_ws(' ', t.typtype, format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'not null' END, t.typdefault,
           (SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype IN ('e', 'd', 'r') AND ${own("n.nspname", "pg_type", "t.oid")}
  UNION ALL
  SELECT 'extension', quote_ident(x.extname), x.extversion FROM pg_extension x
)
SELECT kind, name, regexp_replace(definition, current_database() || '_(owner|admin|write|read)', '\\1', 'g') AS definition
  FROM objects ORDER BY kind, name, definition`;

export async function readSchemaObjects(context: AdminContext, database: PhysicalDatabase): Promise<readonly SchemaObject[]> {
  const { rows } = await withAdmin(context, database.clusterId, database.name, (connection) => connection.query(objectsSql));
  return rows.map((row) => ({ kind: String(row.kind), name: String(row.name), definition: String(row.definition) }));
}
