What pgAdmin 4 asks when a server is opened: the connection, the server's node, its dashboard, the database's tree, a table's node.

-- connection
SET DateStyle = ISO;
SET client_min_messages = notice;
SELECT set_config('bytea_output', 'hex', false) FROM pg_show_all_settings() WHERE name = 'bytea_output';
SET client_encoding = 'utf-8';
-- version
SELECT version();
-- rows: database of the connection
SELECT db.oid AS did, db.datname, db.datallowconn, pg_catalog.pg_encoding_to_char(db.encoding) AS serverencoding,
       has_database_privilege(db.oid, 'CREATE') AS cancreate, datistemplate FROM pg_catalog.pg_database db WHERE db.datname = current_database();
-- encryption
SELECT gss_authenticated, encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_backend_pid();
-- rows: role of the connection
SELECT roles.oid AS id, roles.rolname AS name, roles.rolsuper AS is_superuser,
       CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreaterole END AS can_create_role,
       CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreatedb END AS can_create_db,
       CASE WHEN 'pg_signal_backend' = ANY (ARRAY(WITH RECURSIVE cte AS (
         SELECT pg_roles.oid, pg_roles.rolname FROM pg_roles WHERE pg_roles.oid = roles.oid
         UNION ALL SELECT m.roleid, pgr.rolname FROM cte JOIN pg_auth_members m ON m.member = cte.oid JOIN pg_roles pgr ON pgr.oid = m.roleid)
         SELECT rolname FROM cte)) THEN true ELSE false END AS can_signal_backend
  FROM pg_catalog.pg_roles AS roles WHERE rolname = current_user;
-- recovery and replication
SELECT CASE WHEN usesuper THEN pg_catalog.pg_is_in_recovery() ELSE false END AS inrecovery FROM pg_catalog.pg_user WHERE usename = current_user;
-- postmaster start time
SELECT pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_conf_load_time();
-- rows: databases
SELECT db.oid AS did, db.oid, db.datname AS name, db.dattablespace AS spcoid, spcname, datallowconn, pg_catalog.pg_encoding_to_char(encoding) AS encoding,
       pg_catalog.pg_get_userbyid(datdba) AS datowner, datcollate, datctype, datconnlimit, has_database_privilege(db.oid, 'CREATE') AS cancreate,
       pg_catalog.current_setting('default_tablespace') AS default_tablespace, descr.description AS comments, db.datistemplate AS is_template
  FROM pg_catalog.pg_database db LEFT OUTER JOIN pg_catalog.pg_tablespace ta ON db.dattablespace = ta.oid
  LEFT OUTER JOIN pg_catalog.pg_shdescription descr ON (db.oid = descr.objoid AND descr.classoid = 'pg_database'::regclass) ORDER BY datname;
-- dashboard charts
SELECT 'session_stats' AS chart_name, pg_catalog.row_to_json(t) AS chart_data FROM (SELECT
  (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = current_database()) AS "Total",
  (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'active' AND datname = current_database()) AS "Active",
  (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'idle' AND datname = current_database()) AS "Idle") t
UNION ALL SELECT 'tps_stats', pg_catalog.row_to_json(t) FROM (SELECT
  (SELECT sum(xact_commit) + sum(xact_rollback) FROM pg_catalog.pg_stat_database WHERE datname = current_database()) AS "Transactions",
  (SELECT sum(xact_commit) FROM pg_catalog.pg_stat_database WHERE datname = current_database()) AS "Commits") t
UNION ALL SELECT 'bio_stats', pg_catalog.row_to_json(t) FROM (SELECT
  (SELECT sum(blks_read) FROM pg_catalog.pg_stat_database WHERE datname = current_database()) AS "Reads",
  (SELECT sum(blks_hit) FROM pg_catalog.pg_stat_database WHERE datname = current_database()) AS "Hits") t;
-- rows: sessions
SELECT pid, datname, usename, application_name, client_addr, pg_catalog.to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ') AS backend_start, state,
       wait_event_type || ': ' || wait_event AS wait_event, array_to_string(pg_catalog.pg_blocking_pids(pid), ', ') AS blocking_pids, query
  FROM pg_catalog.pg_stat_activity WHERE datname = current_database() ORDER BY pid;
-- locks
SELECT pid, locktype, datname, relation::regclass, page, tuple, virtualxid, transactionid, classid::regclass, objid, virtualtransaction, mode, granted, fastpath
  FROM pg_catalog.pg_locks l LEFT OUTER JOIN pg_catalog.pg_database d ON (l.database = d.oid) WHERE datname = current_database() ORDER BY pid, locktype;
-- prepared transactions
SELECT gid, database, owner, prepared, transaction FROM pg_catalog.pg_prepared_xacts WHERE database = current_database();
-- rows: configuration
SELECT name, category, setting, unit, short_desc FROM pg_catalog.pg_settings ORDER BY category;
-- rows: schemas
SELECT nsp.oid, nsp.nspname AS name, has_schema_privilege(nsp.oid, 'CREATE') AS can_create, has_schema_privilege(nsp.oid, 'USAGE') AS has_usage, des.description
  FROM pg_catalog.pg_namespace nsp LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = nsp.oid AND des.classoid = 'pg_namespace'::regclass)
 WHERE nspname NOT LIKE 'pg!_%' ESCAPE '!' AND NOT (nsp.nspname = 'information_schema') ORDER BY nspname;
-- rows: tables
SELECT rel.oid, rel.relname AS name, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = rel.oid AND tgisinternal = false) AS triggercount,
       (SELECT count(1) FROM pg_catalog.pg_inherits WHERE inhrelid = rel.oid LIMIT 1) AS is_inherits, rel.relpersistence, des.description
  FROM pg_catalog.pg_class rel LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = rel.oid AND des.objsubid = 0)
 WHERE rel.relkind IN ('r', 's', 't', 'p') AND rel.relnamespace = 'public'::regnamespace AND NOT rel.relispartition ORDER BY rel.relname;
-- rows: columns
SELECT att.attname AS name, att.attnum, att.*, def.*, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS defval, att.attndims,
       pg_catalog.format_type(ty.oid, att.atttypmod) AS displaytypname, ty.typname, tn.nspname AS typnspname, cl.relname AS relname,
       (SELECT count(1) FROM pg_catalog.pg_type t2 WHERE t2.typname = ty.typname) > 1 AS isdup, seq.*
  FROM pg_catalog.pg_attribute att JOIN pg_catalog.pg_type ty ON ty.oid = atttypid JOIN pg_catalog.pg_namespace tn ON tn.oid = ty.typnamespace
  JOIN pg_catalog.pg_class cl ON cl.oid = att.attrelid LEFT OUTER JOIN pg_catalog.pg_attrdef def ON adrelid = att.attrelid AND adnum = att.attnum
  LEFT OUTER JOIN pg_catalog.pg_depend dep ON dep.refobjid = att.attrelid AND dep.refobjsubid = att.attnum AND dep.deptype IN ('a', 'i')
  LEFT OUTER JOIN pg_catalog.pg_sequence seq ON dep.objid = seq.seqrelid
 WHERE att.attrelid = 'accounts'::regclass AND att.attnum > 0 AND att.attisdropped IS FALSE ORDER BY att.attnum;
-- rows: definition of constraints and indexes
SELECT pg_catalog.pg_get_constraintdef(oid, true) FROM pg_catalog.pg_constraint WHERE conrelid = 'accounts'::regclass
UNION ALL SELECT pg_catalog.pg_get_indexdef(indexrelid) FROM pg_catalog.pg_index WHERE indrelid = 'accounts'::regclass;
-- rows: statistics
SELECT st.*, pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(st.relid)) AS size, pg_catalog.pg_size_pretty(pg_catalog.pg_indexes_size(st.relid)) AS indexes
  FROM pg_catalog.pg_stat_all_tables st JOIN pg_catalog.pg_statio_all_tables io ON io.relid = st.relid WHERE st.relid = 'accounts'::regclass;
-- roles
SELECT r.oid, r.rolname, r.rolcanlogin, r.rolsuper FROM pg_catalog.pg_roles r ORDER BY r.rolcanlogin, r.rolname;
-- tablespaces
SELECT ts.oid, spcname AS name, spcowner AS owner FROM pg_catalog.pg_tablespace ts ORDER BY name;
-- rows: query tool
SELECT * FROM public.accounts LIMIT 1000;
