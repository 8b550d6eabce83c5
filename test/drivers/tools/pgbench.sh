#!/usr/bin/env bash
# pgbench: its tables made in the workspace, its transactions run in every protocol, then a reconnect for each.
. "$(dirname "$0")/check.sh"

echo "version $(pgbench --version | grep -oE '[0-9]+(\.[0-9]+)?' | head -1)"
export PGDATABASE=$TDB_WORKSPACE_DATABASE PGPASSWORD=$TDB_WORKSPACE_PASSWORD
# G: the rows are made by the server; g would send them with COPY.
shows "initialization" "done in" pgbench -i -I dtGvpf
for mode in simple extended prepared; do
  shows "transactions, $mode protocol" "number of failed transactions: 0" pgbench -n -c 4 -t 50 -M "$mode"
done
shows "reconnecting" "actually processed: 40/40" pgbench -n -S -C -c 4 -t 10
shows "pipeline" "actually processed: 20/20" pgbench -n -M extended -t 20 -f <(printf '\\startpipeline\nSELECT 1;\nSELECT 2;\n\\endpipeline\n')
exit $failed
