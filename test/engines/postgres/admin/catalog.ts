/** Everything a schema consists of, line by line from PostgreSQL's catalogs, the same for a workspace and its tenants when they are alike. */
import type { SqlConnection } from "../../../../core/sql.ts";

/** The owner's and admin's rights differ by design: admin owns a workspace, owner a tenant. What others may do must be equal. */
const aclSql = (acl: string, kind: string) => `
  (SELECT string_agg(a.who || '=' || a.privileges, ' ' ORDER BY a.who) FROM (
     SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE regexp_replace(pg_get_userbyid(x.grantee), '^tdb_[0-9a-f]{16}_', '') END AS who,
            string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ',' ORDER BY x.privilege_type) AS privileges
       FROM aclexplode(coalesce(${acl}, ${kind})) x GROUP BY 1) a WHERE a.who NOT IN ('owner', 'admin'))`;

const ours = "NOT IN ('pg_catalog', 'information_schema', 'tdb') AND n.nspname NOT LIKE 'pg\\_%'";
const notOfExtension = (catalog: string, oid: string) =>
  `NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '${catalog}'::regclass AND e.objid = ${oid} AND e.deptype = 'e')`;
const comment = (oid: string, catalog: string) => `coalesce(obj_description(${oid}, '${catalog}'), '')`;

const parts: readonly string[] = [
  `SELECT format('schema %s acl=%s %s', n.nspname, ${aclSql("n.nspacl", "acldefault('n', n.nspowner)")}, ${comment("n.oid", "pg_namespace")})
     FROM pg_namespace n WHERE n.nspname ${ours}`,
  `SELECT format('extension %s %s in %s %s', e.extname, e.extversion, n.nspname, ${comment("e.oid", "pg_extension")}) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace`,
  `SELECT format('relation %s.%s kind=%s persistence=%s rls=%s/%s options=%s identity=%s bound=%s key=%s of=%s inherits=%s acl=%s %s', n.nspname, c.relname, c.relkind,
          c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relreplident, pg_get_expr(c.relpartbound, c.oid),
          CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END, c.reloftype::regtype,
          (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
          ${aclSql("c.relacl", "acldefault(CASE WHEN c.relkind = 'S' THEN 's'::\"char\" ELSE 'r' END, c.relowner)")}, ${comment("c.oid", "pg_class")})
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 't' AND n.nspname ${ours} AND ${notOfExtension("pg_class", "c.oid")}`,
  `SELECT format('column %s.%s.%s %s notnull=%s default=%s identity=%s generated=%s collation=%s storage=%s compression=%s statistics=%s options=%s place=%s acl=%s %s',
          n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity,
          a.attgenerated, a.attcollation::regcollation, a.attstorage, a.attcompression, a.attstattarget, a.attoptions,
          row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), ${aclSql("a.attacl", "acldefault('c', c.relowner)")}, coalesce(col_description(c.oid, a.attnum), ''))
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind NOT IN ('t', 'S') AND n.nspname ${ours} AND ${notOfExtension("pg_class", "c.oid")}`,
  `SELECT format('sequence %s.%s %s start=%s by=%s min=%s max=%s cache=%s cycle=%s owned=%s', n.nspname, c.relname, s.seqtypid::regtype, s.seqstart, s.seqincrement,
          s.seqmin, s.seqmax, s.seqcache, s.seqcycle, (SELECT d.refobjid::regclass || '.' || d.refobjsubid FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass))
     FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname ${ours}`,
  `SELECT format('constraint %s on %s %s validated=%s %s', k.conname, coalesce(nullif(k.conrelid, 0)::regclass::text, k.contypid::regtype::text),
          pg_get_constraintdef(k.oid), k.convalidated, ${comment("k.oid", "pg_constraint")})
     FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE n.nspname ${ours}`,
  `SELECT format('index %s valid=%s clustered=%s identity=%s', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisclustered, i.indisreplident)
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname ${ours}`,
  `SELECT format('view %s.%s %s', n.nspname, c.relname, pg_get_viewdef(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND n.nspname ${ours} AND ${notOfExtension("pg_class", "c.oid")}`,
  `SELECT format('routine %s acl=%s %s', CASE WHEN p.prokind = 'a' THEN p.oid::regprocedure::text ELSE pg_get_functiondef(p.oid) END,
          ${aclSql("p.proacl", "acldefault('f', p.proowner)")}, ${comment("p.oid", "pg_proc")})
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname ${ours} AND ${notOfExtension("pg_proc", "p.oid")}`,
  `SELECT format('aggregate %s %s %s %s %s', a.aggfnoid, a.aggtransfn, a.aggfinalfn, a.aggtranstype::regtype, a.agginitval)
     FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname ${ours}`,
  `SELECT format('operator %s %s', o.oid::regoperator, o.oprcode) FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE n.nspname ${ours} AND ${notOfExtension("pg_operator", "o.oid")}`,
  `SELECT format('cast %s to %s by %s %s', castsource::regtype, casttarget::regtype, castfunc::regproc, castcontext) FROM pg_cast WHERE oid >= 16384 AND ${notOfExtension("pg_cast", "pg_cast.oid")}`,
  `SELECT format('trigger %s enabled=%s %s', pg_get_triggerdef(t.oid), t.tgenabled, ${comment("t.oid", "pg_trigger")}) FROM pg_trigger t WHERE NOT t.tgisinternal`,
  `SELECT format('rule %s enabled=%s', pg_get_ruledef(r.oid), r.ev_enabled) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.rulename <> '_RETURN' AND n.nspname ${ours}`,
  `SELECT format('policy %s on %s %s permissive=%s to=%s using=%s check=%s %s', p.polname, p.polrelid::regclass, p.polcmd, p.polpermissive,
          (SELECT string_agg(CASE WHEN m = 0 THEN 'PUBLIC' ELSE regexp_replace(pg_get_userbyid(m), '^tdb_[0-9a-f]{16}_', '') END, ',' ORDER BY m) FROM unnest(p.polroles) m),
          pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), ${comment("p.oid", "pg_policy")}) FROM pg_policy p`,
  `SELECT format('type %s.%s %s of=%s notnull=%s default=%s labels=%s acl=%s %s', n.nspname, t.typname, t.typtype, format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull,
          t.typdefault, (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
          ${aclSql("t.typacl", "acldefault('T', t.typowner)")}, ${comment("t.oid", "pg_type")})
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname ${ours} AND ${notOfExtension("pg_type", "t.oid")} AND t.typelem = 0`,
  `SELECT format('range %s of %s', r.rngtypid::regtype, r.rngsubtype::regtype) FROM pg_range r WHERE r.rngtypid >= 16384`,
  `SELECT format('statistics %s %s', pg_get_statisticsobjdef(s.oid), s.stxstattarget) FROM pg_statistic_ext s`,
  `SELECT format('collation %s.%s %s %s', n.nspname, c.collname, c.collprovider, coalesce(c.collcollate, c.colllocale)) FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE n.nspname ${ours}`,
  `SELECT format('text search %s.%s', n.nspname, c.cfgname) FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace WHERE n.nspname ${ours}`,
  `SELECT format('default acl in %s for %s: %s', coalesce(d.defaclnamespace::regnamespace::text, ''), d.defaclobjtype, ${aclSql("d.defaclacl", "acldefault('c', d.defaclrole)")})
     FROM pg_default_acl d`,
];

/** Sorted lines; an object that is missing or different shows as one. */
export async function readCatalog(connection: SqlConnection): Promise<readonly string[]> {
  await connection.query("SET search_path TO pg_catalog");
  const lines: string[] = [];
  for (const sql of parts) lines.push(...(await connection.query(sql)).rows.map((row) => String(row.format)));
  // Functions' definitions hold line breaks; names of native roles differ from database to database.
  return lines.map((line) => line.replaceAll(/tdb_[0-9a-f]{16}_/g, "tdb_")).sort();
}
