/** Tests of public suites that pass on PostgreSQL and cannot pass through the gateway, by a pattern of their names, each with its reason. */

const reused = "expects another backend after a connection has been closed: the gateway lends the same one again";
const hurried = "waits 50 ms for a login, which on a busy machine takes longer through two programs than through one";

export const skips: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "node-postgres": {
    "gh-issues/130-tests.js": "ends its session from template1, a database that the gateway does not have",
  },
  psycopg: {
    "tests/pool/.*::test_(reset_badstate|reset_broken|fail_rollback_close|active_close|check|broken_reconnect|drain|its_no_pool_at_all)(\\[.*\\])?":
      reused,
  },
  pgx: {
    "pgxpool:TestConnReleaseClosesConnInTransaction": reused,
    ":TestConnect": "looks for the names that the DSN has in the server's own current_database() and current_user, which are opaque ids",
  },
  "postgres.js": {
    "Uses default database with(out)? slash": "expects the DSN's user and database to have the same name",
    "multiple listeners work after a reconnect": hurried,
    "listen and notify with weird name": hurried,
    "listen result reports correct connection state after reconnection": hurried,
  },
};
