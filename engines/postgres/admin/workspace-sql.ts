/** SQL that sets up what a workspace has of ours inside it: the list of allowed extensions and, in tenant mode, the capture of DDL. */
import { quoteLiteral } from "../../../core/sql.ts";
import { captureSql } from "./capture-sql.ts";

/** Counted up with every change of the SQL below: workspaces of before are then set up again. */
const setUpVersion = 2;

/** Kept as the comment of schema `tdb`: what a workspace was last set up with. */
export function setUpMark(mode: "tenant" | "control", extensions: readonly string[]): string {
  return `set-up ${setUpVersion}, ${mode} mode, extensions: ${[...extensions].sort().join(" ")}`;
}

export const readMarkSql = `
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace') AS mark FROM pg_catalog.pg_namespace n WHERE n.nspname = 'tdb'`;

/** May be run again, and on a workspace of an earlier version. Not captured, because a superuser runs it. */
export function workspaceSetUpSql(mode: "tenant" | "control", extensions: readonly string[]): string {
  return `
CREATE SCHEMA IF NOT EXISTS tdb;
${extensionSql(extensions)}
${mode === "tenant" ? captureSql : ""}
COMMENT ON SCHEMA tdb IS ${quoteLiteral(setUpMark(mode, extensions))};
`;
}

/**
 * Two looks: at the text before the command, because PostgreSQL's own check of who may create an extension says nothing of our list; and
 * at what was created, dependencies by CASCADE included, which no text can hide.
 */
function extensionSql(extensions: readonly string[]): string {
  const list = `ARRAY[${["plpgsql", ...extensions].map(quoteLiteral).join(", ")}]::text[]`;
  return `
CREATE OR REPLACE FUNCTION tdb.require_allowed(extension text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  IF extension = ANY (${list}) THEN RETURN; END IF;
  RAISE insufficient_privilege USING
    MESSAGE = format('extension "%s" is not on the list of allowed extensions', extension),
    HINT = 'The operator of the gateway can add it to extensions.allow. Allowed: ' || array_to_string(${list}, ', ');
END $tdb$;

CREATE OR REPLACE FUNCTION tdb.look_at_extensions() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
DECLARE
  found text[];
BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN RETURN; END IF;
  FOR found IN SELECT regexp_matches(current_query(), 'create\\s+extension\\s+(?:if\\s+not\\s+exists\\s+)?(?:"((?:[^"]|"")+)"|([a-z_][a-z0-9_$]*))', 'gi') LOOP
    PERFORM tdb.require_allowed(coalesce(found[1], lower(found[2])));
  END LOOP;
END $tdb$;

CREATE OR REPLACE FUNCTION tdb.check_extensions() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $tdb$
BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN RETURN; END IF;
  PERFORM tdb.require_allowed(e.extname::text) FROM pg_extension e WHERE e.oid IN (
    WITH RECURSIVE needed (oid) AS (
      SELECT c.objid FROM pg_event_trigger_ddl_commands() c WHERE c.classid = 'pg_extension'::regclass
      UNION
      SELECT d.refobjid FROM needed n JOIN pg_depend d
        ON d.classid = 'pg_extension'::regclass AND d.objid = n.oid AND d.refclassid = 'pg_extension'::regclass)
    SELECT n.oid FROM needed n);
END $tdb$;

DROP EVENT TRIGGER IF EXISTS tdb_extension_look;
DROP EVENT TRIGGER IF EXISTS tdb_extension_check;
CREATE EVENT TRIGGER tdb_extension_look ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION tdb.look_at_extensions();
CREATE EVENT TRIGGER tdb_extension_check ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION tdb.check_extensions();
`;
}
