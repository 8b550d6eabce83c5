# For the scripts beside it: where the gateway is, as libpq's programs take it, and one line for each thing they were seen to do.
set -uo pipefail
export PGHOST=$TDB_HOST PGPORT=$TDB_PORT PGUSER=$TDB_USER PGDATABASE=$TDB_DATABASE PGPASSWORD=$TDB_PASSWORD
export PGSSLMODE=verify-full PGSSLROOTCERT=$TDB_CA_FILE PGCONNECT_TIMEOUT=30 LC_ALL=C.UTF-8
failed=0

# check <name> <command…>: the command's success.
check() {
  local name=$1 said
  shift
  if said=$("$@" 2>&1); then echo "ok $name"; else fail "$name" "$said"; fi
}

# shows <name> <text> <command…>: the text among what the command prints, whatever its exit code.
shows() {
  local name=$1 text=$2 said
  shift 2
  said=$("$@" 2>&1)
  if [[ $said == *"$text"* ]]; then echo "ok $name"; else fail "$name" "$said"; fi
}

fail() {
  failed=1
  echo "fail $1: $(tr '\n' ' ' <<<"$2" | cut -c1-300)"
}

# Statements by themselves, unaligned, tuples only.
sql() { psql -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=verbose "$@"; }
