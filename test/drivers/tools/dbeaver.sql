What DBeaver asks when it connects and its navigator is opened: the session, the catalogs for the tree, a table's tabs, the session manager.

-- session
SET extra_float_digits = 3;
SET application_name = 'DBeaver - Main';
-- version
SELECT version();
-- search path
SHOW search_path;
-- schema and user
SELECT current_schema(), session_user;
-- standard strings
SHOW standard_conforming_strings;
-- rows: databases
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate OR db.datname = current_database() ORDER BY db.datname;
-- roles
SELECT a.oid, a.*, pd.description FROM pg_catalog.pg_roles a LEFT JOIN pg_catalog.pg_shdescription pd ON a.oid = pd.objoid ORDER BY a.rolname;
-- role members
SELECT * FROM pg_catalog.pg_auth_members;
-- rows: schemas
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass ORDER BY nspname;
-- rows: types
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description FROM pg_catalog.pg_type t
  LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
  LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid
 WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C');
-- enum values
SELECT e.* FROM pg_catalog.pg_enum e ORDER BY e.enumsortorder;
-- rows: tables
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr, pg_catalog.pg_get_partkeydef(c.oid) AS partition_key
  FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c') AND c.relname = 'accounts';
-- rows: columns
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid FROM pg_catalog.pg_attribute a
  INNER JOIN pg_catalog.pg_class c ON a.attrelid = c.oid LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum
  LEFT OUTER JOIN pg_catalog.pg_description dsc ON c.oid = dsc.objoid AND a.attnum = dsc.objsubid
  LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid
 WHERE NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 'c') AND c.oid = 'accounts'::regclass ORDER BY a.attnum;
-- rows: constraints
SELECT c.oid, c.*, t.relname AS tabrelname, rt.relnamespace AS refnamespace, d.description,
       CASE WHEN c.contype = 'c' THEN "substring"(pg_get_constraintdef(c.oid), 7) END AS consrc_copy
  FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass
 WHERE c.conrelid = 'accounts'::regclass ORDER BY c.oid;
-- rows: indexes
SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr,
       pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans
  FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid
  LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid WHERE i.indrelid = 'accounts'::regclass ORDER BY tabrelname, c.relname;
-- rows: sequences
SELECT c.oid, c.*, d.description FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S';
-- rows: sequence values
SELECT last_value, is_called FROM public.accounts_id_seq;
-- functions
SELECT p.oid AS poid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description FROM pg_catalog.pg_proc p
  LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid WHERE p.pronamespace = 'public'::regnamespace;
-- rules and triggers
SELECT x.oid, x.*, p.pronamespace AS func_schema_id, d.description FROM pg_catalog.pg_trigger x
  LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = x.tgfoid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid
 WHERE x.tgrelid = 'accounts'::regclass AND NOT x.tgisinternal;
-- policies
SELECT * FROM pg_catalog.pg_policy WHERE polrelid = 'accounts'::regclass;
-- partitions
SELECT i.*, c.relnamespace FROM pg_catalog.pg_inherits i, pg_catalog.pg_class c WHERE i.inhparent = c.oid;
-- rows: privileges
SELECT * FROM information_schema.table_privileges WHERE table_schema = 'public' AND table_name = 'accounts';
-- rows: sizes
SELECT c.oid, pg_catalog.pg_total_relation_size(c.oid) AS total_rel_size, pg_catalog.pg_relation_size(c.oid) AS rel_size
  FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND relkind = 'r';
-- extensions
SELECT e.oid, a.rolname oname, n.nspname sname, e.* FROM pg_catalog.pg_extension e JOIN pg_roles a ON e.extowner = a.oid JOIN pg_namespace n ON e.extnamespace = n.oid;
-- extensions that can be had
SELECT * FROM pg_catalog.pg_available_extensions;
-- languages
SELECT l.oid, l.* FROM pg_catalog.pg_language l;
-- tablespaces
SELECT t.oid, t.*, pg_catalog.pg_tablespace_location(t.oid) loc FROM pg_catalog.pg_tablespace t;
-- foreign servers
SELECT l.oid, l.*, p.* FROM pg_catalog.pg_foreign_server l LEFT OUTER JOIN pg_catalog.pg_foreign_data_wrapper p ON p.oid = l.srvfdw;
-- rows: settings
SELECT * FROM pg_catalog.pg_settings;
-- rows: sessions
SELECT sa.* FROM pg_catalog.pg_stat_activity sa;
-- locks
SELECT * FROM pg_catalog.pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database());
-- plan
EXPLAIN (FORMAT XML, ANALYSE) SELECT * FROM accounts;
-- rows: data
SELECT x.* FROM public.accounts x LIMIT 200;
