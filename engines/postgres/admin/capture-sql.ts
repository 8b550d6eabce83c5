/** SQL of a tenant-mode workspace's capture log: schema `tdb`, its tables, and the event triggers that write them. */

/** A longer message is refused by the trigger: it could not be split into statements afterwards. In bytes; the parser's own limit. */
export const maxMessageBytes = 4 * 1024 * 1024;

/** Its text means nothing outside the session that prepared the statement. */
const noExecute = "CREATE TABLE AS EXECUTE cannot be deployed to tenants, where the statement is not prepared";

/** What the client is told of the one DDL command that would take the workspace's own grants away. */
const noDropOwned = "DROP OWNED is not supported in a workspace";

/**
 * Told to other roles. Some of their DDL PostgreSQL lets pass because it does nothing (GRANT without the right to, default privileges of a role
 * that makes nothing); captured, it would be run in tenants by their owner, with effect.
 */
const adminOnly = "only role admin may change the schema of a workspace";

/** What a literal or a clause left out means can depend on these: a partition bound without a zone, a date written 01/02/2026. */
const meaningful = [
  ...["TimeZone", "DateStyle", "IntervalStyle", "standard_conforming_strings", "array_nulls", "transform_null_equals", "xmloption"],
  ...["default_toast_compression", "default_table_access_method"],
];
const settingsSql = `jsonb_strip_nulls(jsonb_build_object(${meaningful.map((name) => `'${name}', current_setting('${name}', true)`).join(", ")}))`;

/** Whether an object of an event trigger's list is temporary; triggers, rules and policies have no schema of their own. */
export const isTemporaryFunction = `
CREATE OR REPLACE FUNCTION tdb.is_temporary(classid oid, objid oid, schema_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $tdb$
  SELECT coalesce(schema_name = 'pg_temp' OR schema_name LIKE 'pg\\_temp\\_%', false) OR coalesce((
    SELECT c.relpersistence = 't' FROM pg_class c WHERE c.oid = CASE classid
      WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = objid)
      WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = objid)
      WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = objid)
    END), false)
$tdb$;
`;

/**
 * Every firing is logged, also what is not a change (\`effect\`): rows are matched to the statements of one message by their order.
 * May be run again, which brings an older set-up to this one.
 * The outer functions have no search_path of their own, because the caller's is to be read; they name functions and types in full and use no
 * operator: a domain called text in the caller's path would have its CHECK run as their owner, a superuser.
 */
export const captureSql = `
CREATE TABLE IF NOT EXISTS tdb.ddl_message (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  pid integer NOT NULL,
  at timestamptz NOT NULL,
  text text NOT NULL
);
CREATE INDEX IF NOT EXISTS ddl_message_key ON tdb.ddl_message (pid, at);

CREATE SEQUENCE IF NOT EXISTS tdb.ddl_order;

CREATE TABLE IF NOT EXISTS tdb.ddl_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  message_id bigint NOT NULL,
  tag text NOT NULL,
  search_path text NOT NULL,
  context text NOT NULL,
  effect text NOT NULL CHECK (effect IN ('permanent', 'temporary', 'extension', 'none')),
  objects text[] NOT NULL,
  txid bigint NOT NULL,
  captured_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ddl_id bigint UNIQUE
);
ALTER TABLE tdb.ddl_log ADD COLUMN IF NOT EXISTS settings jsonb NOT NULL DEFAULT '{}';
CREATE INDEX IF NOT EXISTS ddl_log_message ON tdb.ddl_log (message_id);
CREATE INDEX IF NOT EXISTS ddl_log_unread ON tdb.ddl_log (id) WHERE ddl_id IS NULL;
COMMENT ON COLUMN tdb.ddl_log.context IS 'call stack the command ran under; empty when the client sent it itself';
COMMENT ON COLUMN tdb.ddl_log.settings IS 'of the session, as far as they change what a statement means';
COMMENT ON COLUMN tdb.ddl_log.ddl_id IS 'given by the reader after commit, so that what commits late is never skipped';
${isTemporaryFunction}
CREATE OR REPLACE FUNCTION tdb.message_id() RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $tdb$
DECLARE
  message constant text := current_query();
  found_id bigint;
BEGIN
  IF octet_length(message) > ${maxMessageBytes} THEN
    RAISE program_limit_exceeded USING
      MESSAGE = 'statement text is too long to be captured (limit ${maxMessageBytes} bytes)', HINT = 'Send the statements one at a time.';
  END IF;
  SELECT m.id INTO found_id FROM tdb.ddl_message m WHERE m.pid = pg_backend_pid() AND m.at = statement_timestamp() AND m.text = message;
  IF found_id IS NULL THEN
    INSERT INTO tdb.ddl_message (pid, at, text) VALUES (pg_backend_pid(), statement_timestamp(), message) RETURNING id INTO found_id;
  END IF;
  RETURN found_id;
END $tdb$;

CREATE OR REPLACE FUNCTION tdb.capture(command text, stack text, path text, dropped text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $tdb$
DECLARE
  what text := 'none';
  names text[];
  touched bigint;
BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN RETURN; END IF;
  IF command = 'DROP OWNED' THEN
    RAISE feature_not_supported USING MESSAGE = '${noDropOwned}';
  END IF;
  SELECT count(*), coalesce(array_agg(c.object_identity) FILTER (WHERE c.object_identity IS NOT NULL), '{}'),
         CASE WHEN bool_and(c.in_extension) THEN 'extension'
              WHEN bool_and(tdb.is_temporary(c.classid, c.objid, c.schema_name)) THEN 'temporary' ELSE 'permanent' END
    INTO touched, names, what FROM pg_event_trigger_ddl_commands() c;
  IF command = 'CREATE TABLE AS' AND what = 'permanent' AND current_query() ~* '\\mas\\s+execute\\M' THEN
    RAISE feature_not_supported USING MESSAGE = '${noExecute}', HINT = 'Write the query out: CREATE TABLE … AS SELECT …';
  END IF;
  IF touched = 0 THEN what := coalesce(nullif(dropped, ''), 'none'); END IF;
  -- What was granted on is not told. The reader finds it in the text, and needs to know which names mean temporary relations.
  IF command IN ('GRANT', 'REVOKE') THEN
    SELECT coalesce(array_agg(c.relname::text), '{}') INTO names FROM pg_class c WHERE c.relnamespace = pg_my_temp_schema();
  END IF;
  -- Data, not schema.
  IF command IN ('REFRESH MATERIALIZED VIEW', 'REINDEX') THEN what := 'none'; END IF;
  IF what IN ('permanent', 'extension') AND session_user::text <> current_database()::text || '_admin' THEN
    RAISE insufficient_privilege USING MESSAGE = '${adminOnly}';
  END IF;
  INSERT INTO tdb.ddl_log (message_id, tag, search_path, context, effect, objects, txid, settings)
    VALUES (tdb.message_id(), command, path, coalesce(substr(stack, nullif(strpos(stack, E'\\n'), 0) + 1), ''), what, names, txid_current(),
            ${settingsSql});
END $tdb$;

CREATE OR REPLACE FUNCTION tdb.dropped_effect() RETURNS text LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $tdb$
  SELECT CASE WHEN bool_and(is_temporary) THEN 'temporary' ELSE 'permanent' END FROM pg_event_trigger_dropped_objects() WHERE original
$tdb$;

CREATE OR REPLACE FUNCTION tdb.on_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $tdb$
BEGIN
  PERFORM pg_catalog.set_config('tdb.dropped', tdb.dropped_effect(), true);
END $tdb$;

CREATE OR REPLACE FUNCTION tdb.on_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $tdb$
DECLARE
  stack pg_catalog.text;
BEGIN
  GET DIAGNOSTICS stack = PG_CONTEXT;
  PERFORM tdb.capture(TG_TAG, stack, pg_catalog.current_setting('search_path'), pg_catalog.current_setting('tdb.dropped', true));
  PERFORM pg_catalog.set_config('tdb.dropped', '', true);
END $tdb$;

DROP EVENT TRIGGER IF EXISTS tdb_capture_drop;
DROP EVENT TRIGGER IF EXISTS tdb_capture_ddl;
CREATE EVENT TRIGGER tdb_capture_drop ON sql_drop EXECUTE FUNCTION tdb.on_drop();
CREATE EVENT TRIGGER tdb_capture_ddl ON ddl_command_end EXECUTE FUNCTION tdb.on_ddl();
`;

/** Numbers what has been committed since the last reading. One reader at a time: the table lock lets clients' inserts pass. */
export const numberCapturedSql = `
LOCK TABLE tdb.ddl_log IN SHARE UPDATE EXCLUSIVE MODE;
UPDATE tdb.ddl_log l SET ddl_id = n.ddl_id
  FROM (SELECT id, pg_catalog.nextval('tdb.ddl_order'::pg_catalog.regclass) AS ddl_id
          FROM (SELECT id FROM tdb.ddl_log WHERE ddl_id IS NULL ORDER BY id) AS unread) AS n
 WHERE l.id = n.id;
`;

/** All rows of every message that has a new one: matching needs a message's rows from its first. */
export const readCapturedSql = `
SELECT l.message_id::text AS message_id, l.tag, l.search_path, l.context, l.effect, l.objects, l.settings, l.ddl_id::text AS ddl_id,
       (extract(epoch FROM l.captured_at) * 1000)::bigint::text AS captured_at_ms
  FROM tdb.ddl_log l
 WHERE l.ddl_id IS NOT NULL AND l.message_id IN (SELECT n.message_id FROM tdb.ddl_log n WHERE n.ddl_id > $1)
 ORDER BY l.message_id, l.id
`;

export const readMessagesSql = `
SELECT m.id::text AS id, m.text FROM tdb.ddl_message m
 WHERE m.id IN (SELECT n.message_id FROM tdb.ddl_log n WHERE n.ddl_id > $1)
`;
