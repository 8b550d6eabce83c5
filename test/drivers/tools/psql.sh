#!/usr/bin/env bash
# psql, as people use it and as scripts do.
. "$(dirname "$0")/check.sh"

echo "version $(psql --version | grep -oE '[0-9]+(\.[0-9]+)?' | head -1)"

# A script, its lines one statement each.
script() { printf '%s\n' "$@" | psql -XAtq -v VERBOSITY=verbose; }

shows types '(4611686018427387904,"žluťoučký 🐘","\\x0001ff","{1,2,3}","{""a"": ""b""}",)' \
  sql -c "SELECT row(4611686018427387904, 'žluťoučký 🐘', '\\x0001ff'::bytea, ARRAY[1,2,3], '{\"a\": \"b\"}'::jsonb, NULL)"
shows "prepared statements" 42 script "PREPARE twice(int) AS SELECT \$1 * 2;" "EXECUTE twice(21);" "DEALLOCATE twice;"
shows transactions "kept:1" script "CREATE TEMP TABLE steps (n int);" "BEGIN;" "INSERT INTO steps VALUES (1);" "SAVEPOINT before;" "SELECT 1/0;" \
  "ROLLBACK TO before;" "COMMIT;" "BEGIN;" "INSERT INTO steps VALUES (2);" "ROLLBACK;" "SELECT 'kept:' || sum(n) FROM steps;"
echo "skip pool: psql has one connection"

# Ctrl-C: psql sends a CancelRequest and goes on. The backend's own name for the session tells when the statement runs.
cancelled() {
  local name="psql-$$" output
  output=$(mktemp)
  PGAPPNAME=$name script "SELECT pg_sleep(30);" "SELECT 'went on';" >"$output" 2>&1 &
  local running=$! pid=
  until [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE application_name = '$name' AND state = 'active'")" = 1 ]; do :; done
  until [ -n "$pid" ]; do pid=$(pgrep -P "$running" -x psql || pgrep -P "$(pgrep -P "$running" | head -1)" -x psql); done
  kill -INT "$pid"
  wait "$running"
  cat "$output"
  rm "$output"
}
shows cancellation "57014: canceling statement due to statement timeout" sql -c "SET statement_timeout = 50" -c "SELECT pg_sleep(30)"
shows Ctrl-C "canceling statement due to user request" cancelled

shows errors "42501: DDL not allowed on tenant databases, use workspace mode" sql -c "CREATE TABLE mine (i int)"
shows "wrong password" "password authentication failed for user \"$TDB_USER\"" env PGPASSWORD=tdb_0000000000000000 psql -Xc "SELECT 1"
shows LISTEN 'Asynchronous notification "news" with payload "to psql"' script "LISTEN news;" "NOTIFY news, 'to psql';" "SELECT 1;"
# A script's psql ends with its session; the next one is served.
again() { script "SELECT pg_terminate_backend(pg_backend_pid());" "SELECT 1;" && echo "it went on"; sql -c "SELECT 'here again'"; }
shows reconnect "here again" again
shows "another database by \\connect" "$TDB_OTHER_DATABASE" \
  script "\\connect 'host=$TDB_HOST port=$TDB_PORT dbname=$TDB_OTHER_DATABASE user=$TDB_USER password=$TDB_OTHER_PASSWORD'" "\\echo :DBNAME"
shows "\\copy refused" "0A000: COPY protocol is not supported through the proxy" script "\\copy accounts to stdout"
shows "cursor by FETCH_COUNT" 20000 bash -c "psql -XAtq -v FETCH_COUNT=100 -c 'SELECT n FROM generate_series(1, 20000) n' | tail -1"
shows "\\gexec" "within" script "SELECT 'SELECT ''within''' \\gexec"
shows "\\d accounts" '"accounts_email_key" UNIQUE' psql -Xc "\\d accounts"

# Everything that completion and the backslash commands ask the catalogs.
described() {
  local all=(d dt+ di+ dv+ dm ds+ df+ dn+ du dg dT+ dx dC dc dD dE+ dF dL do+ dp dO dA+ dP+ drds db des deu dew det dy l dconfig dRp dRs) name
  for name in "${all[@]}"; do
    # No server-side error for any; a psql older than a command says so itself.
    psql -Xc "\\$name" 2>&1 >/dev/null | grep '^ERROR' && { echo "\\$name"; return 1; }
  done
  return 0
}
check "backslash commands" described
exit $failed
