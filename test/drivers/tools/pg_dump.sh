#!/usr/bin/env bash
# pg_dump of a tenant: its schema always, its rows where the workspace has allow_copy.
. "$(dirname "$0")/check.sh"

echo "version $(pg_dump --version | grep -oE '[0-9]+(\.[0-9]+)?' | head -1)"

# settings <JSON>: of the tenant's workspace, in force when it returns.
settings() {
  curl -sS --fail-with-body -X PATCH "$TDB_API_URL/workspaces/myapp/settings" -H "Authorization: Bearer $TDB_API_KEY" \
    -H "Content-Type: application/json" -d "$1" >/dev/null
}

# The schemas are named because one more, the gateway's own, is closed to tenants.
dump() { pg_dump --schema=public --no-owner --no-privileges "$@"; }

shows "schema of a tenant" "CREATE TABLE public.accounts" dump --schema-only
shows "rows refused" "COPY protocol is not supported through the proxy" dump
shows "rows as INSERT" "INSERT INTO public.accounts VALUES" dump --inserts
check "allow_copy on" settings '{"allow_copy": true}'
until [[ $(psql -XAtqc "COPY (SELECT 1) TO STDOUT" 2>&1) == 1 ]]; do :; done
shows "whole tenant" "zoe@test.com" dump
archive=$(mktemp)
check "custom format" dump -Fc -f "$archive"
shows "read by pg_restore" "TABLE DATA public accounts" pg_restore -l "$archive"
rm "$archive"
export PGDATABASE=$TDB_WORKSPACE_DATABASE PGPASSWORD=$TDB_WORKSPACE_PASSWORD
shows "schema of the workspace" "CREATE TABLE public.accounts" dump --schema-only
exit $failed
