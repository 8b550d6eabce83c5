/** SQL inside template and tenant databases: the DDL guard, the record of the applied version, and the hand-over of a copy to its own roles. */
import { nativeRoleName } from "../../../core/model.ts";
import { quoteIdentifier, quoteLiteral } from "../../../core/sql.ts";
import { isTemporaryFunction } from "./capture-sql.ts";
import { guardMessage } from "./sql-errors.ts";

/**
 * The record is written through functions that look at session_user: a SECURITY DEFINER function of the blueprint, run by a client, is
 * the owner for privileges and still not the one who logged in. Everything goes by current_database(), so a copy needs no change.
 */
export const guardSql = `
CREATE SCHEMA tdb;

CREATE TABLE tdb.applied (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  version integer NOT NULL,
  pending_version integer,
  pending_indexes oid[] NOT NULL DEFAULT '{}',
  applied_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tdb.applied (version) VALUES (0);
${isTemporaryFunction}
CREATE FUNCTION tdb.is_control_plane() RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $tdb$
  SELECT session_user::text = current_database()::text || '_owner' OR coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = session_user), false)
$tdb$;

CREATE FUNCTION tdb.guard_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  IF tdb.is_control_plane() OR TG_TAG IN ('REFRESH MATERIALIZED VIEW', 'REINDEX') THEN RETURN; END IF;
  IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c WHERE NOT tdb.is_temporary(c.classid, c.objid, c.schema_name)) THEN
    RAISE insufficient_privilege USING MESSAGE = ${quoteLiteral(guardMessage)};
  END IF;
END $tdb$;

CREATE FUNCTION tdb.guard_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  IF tdb.is_control_plane() THEN RETURN; END IF;
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE original AND NOT is_temporary) THEN
    RAISE insufficient_privilege USING MESSAGE = ${quoteLiteral(guardMessage)};
  END IF;
END $tdb$;

CREATE EVENT TRIGGER tdb_guard_ddl ON ddl_command_end EXECUTE FUNCTION tdb.guard_ddl();
CREATE EVENT TRIGGER tdb_guard_drop ON sql_drop EXECUTE FUNCTION tdb.guard_drop();

CREATE FUNCTION tdb.require_control_plane() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  IF NOT tdb.is_control_plane() THEN RAISE insufficient_privilege USING MESSAGE = 'only a deployment may do this'; END IF;
END $tdb$;

CREATE FUNCTION tdb.lock_applied() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  PERFORM tdb.require_control_plane();
  RETURN (SELECT a.version FROM tdb.applied a FOR UPDATE);
END $tdb$;
COMMENT ON FUNCTION tdb.lock_applied() IS 'the applied version, held until the transaction ends: a second deployment waits here';

CREATE FUNCTION tdb.record_applied(from_version integer, to_version integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  PERFORM tdb.require_control_plane();
  UPDATE tdb.applied SET version = to_version, pending_version = NULL, pending_indexes = '{}', applied_at = clock_timestamp()
   WHERE version = from_version;
  IF NOT FOUND THEN RAISE serialization_failure USING MESSAGE = 'the applied version was changed by another deployment'; END IF;
END $tdb$;

CREATE FUNCTION tdb.begin_step(step_version integer) RETURNS TABLE (resumed boolean, indexes oid[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  PERFORM tdb.require_control_plane();
  RETURN QUERY SELECT true, a.pending_indexes FROM tdb.applied a WHERE a.pending_version = step_version;
  IF FOUND THEN RETURN; END IF;
  RETURN QUERY UPDATE tdb.applied SET pending_version = step_version, pending_indexes = (SELECT array_agg(i.indexrelid) FROM pg_index i)
    RETURNING false, pending_indexes;
END $tdb$;
COMMENT ON FUNCTION tdb.begin_step(integer) IS 'notes which indexes are there before a statement that cannot be rolled back; what is there later and not here came from it';
`;

const ownerFunctions = "tdb.lock_applied(), tdb.record_applied(integer, integer), tdb.begin_step(integer)";

/** What a deployment, logged in as the owner, needs of schema tdb. Functions are executable by PUBLIC, who cannot see into the schema. */
export function ownerGrantsSql(name: string): string {
  const owner = quoteIdentifier(nativeRoleName(name, "owner"));
  return `
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tdb FROM PUBLIC;
GRANT USAGE ON SCHEMA tdb TO ${owner};
GRANT EXECUTE ON FUNCTION ${ownerFunctions} TO ${owner};
`;
}

/**
 * In a copy of a template: objects, grants, default privileges and policies go from the template's four roles to the copy's own four,
 * one to one, so what a blueprint granted or revoked holds in every tenant. Objects with the same grants share one GRANT.
 */
export function handOverSql(name: string, template: string): string {
  const from = (role: "owner" | "admin" | "write" | "read") => quoteIdentifier(nativeRoleName(template, role));
  return `
REASSIGN OWNED BY ${from("owner")} TO ${quoteIdentifier(nativeRoleName(name, "owner"))};
${translateSql(name, template)}
DROP OWNED BY ${from("admin")}, ${from("write")}, ${from("read")};
`;
}

function translateSql(name: string, template: string): string {
  return `
DO $tdb$
DECLARE
  source constant text := ${quoteLiteral(template)};
  target constant text := ${quoteLiteral(name)};
  item record;
BEGIN
  FOR item IN
    WITH role_map AS (
      SELECT r.oid AS old_role, quote_ident(r.rolname) AS old_name, quote_ident(target || suffix) AS new_name
        FROM unnest(ARRAY['_owner', '_admin', '_write', '_read']) AS suffix JOIN pg_roles r ON r.rolname = source || suffix
    ), acl AS (
      SELECT CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS object, a.grantee, a.is_grantable,
             a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
      UNION ALL
      SELECT 'TABLE', t.attrelid::regclass::text, a.grantee, a.is_grantable, a.privilege_type || ' (' || quote_ident(t.attname) || ')'
        FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attnum > 0 AND NOT t.attisdropped
      UNION ALL
      SELECT 'ROUTINE', p.oid::regprocedure::text, a.grantee, a.is_grantable, a.privilege_type FROM pg_proc p, aclexplode(p.proacl) a
      UNION ALL
      SELECT 'SCHEMA', quote_ident(n.nspname), a.grantee, a.is_grantable, a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a
      UNION ALL
      SELECT 'TYPE', t.oid::regtype::text, a.grantee, a.is_grantable, a.privilege_type FROM pg_type t, aclexplode(t.typacl) a
    ), per_object AS (
      SELECT kind, object, grantee, is_grantable, string_agg(privilege_type, ', ' ORDER BY privilege_type) AS privileges
        FROM acl GROUP BY kind, object, grantee, is_grantable
    )
    SELECT kind, privileges, old_name, new_name, is_grantable, old_name LIKE '%\\_owner' AS of_owner, string_agg(object, ', ') AS objects
      FROM per_object JOIN role_map ON old_role = grantee GROUP BY kind, privileges, old_name, new_name, is_grantable
  LOOP
    EXECUTE format('GRANT %s ON %s %s TO %s%s', item.privileges, item.kind, item.objects, item.new_name,
                   CASE WHEN item.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    -- The other three roles are cleared by DROP OWNED; on the owner that would reach its rights on the template database itself.
    IF item.of_owner THEN EXECUTE format('REVOKE ALL ON %s %s FROM %s', item.kind, item.objects, item.old_name); END IF;
  END LOOP;

  FOR item IN
    SELECT p.polname, p.polrelid::regclass::text AS relation,
           (SELECT string_agg(CASE WHEN m.oid IS NULL THEN 'PUBLIC' WHEN m.rolname LIKE source || '\\_%'
                     THEN quote_ident(target || substr(m.rolname, length(source) + 1)) ELSE quote_ident(m.rolname) END, ', ')
              FROM unnest(p.polroles) AS member LEFT JOIN pg_roles m ON m.oid = member) AS members
      FROM pg_policy p WHERE EXISTS (SELECT FROM pg_roles r WHERE r.oid = ANY (p.polroles) AND r.rolname LIKE source || '\\_%')
  LOOP
    EXECUTE format('ALTER POLICY %I ON %s TO %s', item.polname, item.relation, item.members);
  END LOOP;

  FOR item IN
    WITH owner AS (SELECT oid FROM pg_roles WHERE rolname = source || '_owner'),
    defaults AS (
      SELECT d.defaclobjtype AS kind, d.defaclnamespace AS schema, d.defaclacl AS acl,
             -- Of all schemas: the whole list. Of one: what is added to it.
             CASE WHEN d.defaclnamespace = 0 THEN acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)
                  END AS builtin
        FROM pg_default_acl d JOIN owner ON owner.oid = d.defaclrole
    ), changed AS (
      SELECT d.kind, d.schema, a.grantee, a.privilege_type, a.is_grantable, true AS added FROM defaults d, aclexplode(d.acl) a
       WHERE NOT EXISTS (SELECT FROM aclexplode(d.builtin) b WHERE (b.grantee, b.privilege_type) = (a.grantee, a.privilege_type))
      UNION ALL
      SELECT d.kind, d.schema, b.grantee, b.privilege_type, false, false FROM defaults d, aclexplode(d.builtin) b
       WHERE NOT EXISTS (SELECT FROM aclexplode(d.acl) a WHERE (b.grantee, b.privilege_type) = (a.grantee, a.privilege_type))
    )
    SELECT c.added, c.is_grantable, string_agg(c.privilege_type, ', ') AS privileges,
           CASE c.kind WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
                       WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS kind,
           CASE WHEN c.schema = 0 THEN '' ELSE 'IN SCHEMA ' || c.schema::regnamespace::text END AS place,
           CASE WHEN r.oid IS NULL THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS old_name,
           CASE WHEN r.oid IS NULL THEN 'PUBLIC' WHEN r.rolname LIKE source || '\\_%' THEN quote_ident(target || substr(r.rolname, length(source) + 1))
                ELSE quote_ident(r.rolname) END AS new_name
      FROM changed c LEFT JOIN pg_roles r ON r.oid = c.grantee GROUP BY c.added, c.is_grantable, c.kind, c.schema, r.oid, r.rolname
  LOOP
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s %s %s ON %s %s %s', target || '_owner', item.place,
                   CASE WHEN item.added THEN 'GRANT' ELSE 'REVOKE' END, item.privileges, item.kind,
                   CASE WHEN item.added THEN 'TO' ELSE 'FROM' END, item.new_name || CASE WHEN item.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    -- Undone for the template's owner, which leaves no trace of it here.
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s %s %s ON %s %s %s', source || '_owner', item.place,
                   CASE WHEN item.added THEN 'REVOKE' ELSE 'GRANT' END, item.privileges, item.kind,
                   CASE WHEN item.added THEN 'FROM' ELSE 'TO' END, item.old_name);
  END LOOP;
END $tdb$;
`;
}
