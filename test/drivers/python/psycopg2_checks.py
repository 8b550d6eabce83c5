"""psycopg2: what applications do with it."""
import select
import threading
from contextlib import contextmanager

import psycopg2
import psycopg2.extras
from psycopg2 import errors as sqlstate
from psycopg2.pool import ThreadedConnectionPool
from report import BIG, BYTES, ID, JSON, LIST, NUMERIC, OTHER_DATABASE, OWN_BACKEND, SHARES, TEXT, TIME, USER, report, skip, until, url

psycopg2.extras.register_uuid()


@contextmanager
def connected(autocommit=True, **more):
    conn = psycopg2.connect(url(), **more)
    conn.autocommit = autocommit
    try:
        yield conn
    finally:
        conn.close()


def run(conn, sql, values=None):
    with conn.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else None


def failure(error, work):
    try:
        work()
    except error as caught:
        return caught
    raise AssertionError("it was expected to fail")


def types():
    sql = "SELECT %s::text, %s::bigint, %s::numeric, %s::jsonb, %s::text[], %s::bytea, %s::timestamptz, %s::uuid, %s::text, %s::bool"
    with connected(autocommit=False) as conn:
        [row] = run(conn, sql, [TEXT, BIG, NUMERIC, psycopg2.extras.Json(JSON), LIST, psycopg2.Binary(BYTES), TIME, ID, None, True])
        assert (*row[:5], bytes(row[5]), *row[6:]) == (TEXT, BIG, NUMERIC, JSON, LIST, BYTES, TIME, ID, None, True)
        with conn.cursor(name="walk") as cursor:
            cursor.execute("SELECT generate_series(1, 20000)")
            assert sum(1 for _ in cursor) == 20000
        with conn.cursor() as cursor:
            rows = [(f"n{at}", f"many{at}") for at in range(300)]
            psycopg2.extras.execute_values(cursor, "INSERT INTO accounts (name, email) VALUES %s", rows)
        assert run(conn, "SELECT count(*) FROM accounts WHERE email LIKE 'many%'") == [(300,)]
        big = conn.lobject(0, "wb")
        big.write(BYTES * 1000)
        big.seek(0)
        big.close()
        assert conn.lobject(big.oid, "rb").read() == BYTES * 1000
        conn.rollback()


def prepared():
    with connected() as conn:
        run(conn, "PREPARE double AS SELECT $1::int * 2")
        for at in range(50):
            assert run(conn, "EXECUTE double (%s)", [at]) == [(at * 2,)]


def transactions():
    insert = "INSERT INTO accounts (name, email) VALUES ('T', %s)"
    count = "SELECT count(*) FROM accounts WHERE email LIKE 'tx%'"
    with connected(autocommit=False) as conn:
        run(conn, insert, ["tx1"])
        conn.rollback()
        assert run(conn, count) == [(0,)]
        conn.rollback()
        conn.set_session(isolation_level="SERIALIZABLE")
        run(conn, insert, ["tx1"])
        run(conn, "SAVEPOINT s")
        failure(sqlstate.UniqueViolation, lambda: run(conn, insert, ["tx1"]))
        failure(sqlstate.InFailedSqlTransaction, lambda: run(conn, count))
        run(conn, "ROLLBACK TO s")
        run(conn, insert, ["tx2"])
        conn.commit()
        assert run(conn, count) == [(2,)]


def pool():
    connections = ThreadedConnectionPool(1, 4, url())
    gate = threading.Semaphore(4)
    seen = []

    def ask(at):
        with gate:
            conn = connections.getconn()
            seen.extend(run(conn, "SELECT %s::int, pg_backend_pid()", [at]))
            connections.putconn(conn)

    threads = [threading.Thread(target=ask, args=[at]) for at in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connections.closeall()
    assert sorted(at for at, _ in seen) == list(range(40))


def cancellation():
    with connected() as conn, connected() as other:
        caught = []
        [(pid,)] = run(conn, OWN_BACKEND)
        assert SHARES or pid == conn.info.backend_pid
        thread = threading.Thread(target=lambda: caught.append(failure(sqlstate.QueryCanceled, lambda: run(conn, "SELECT pg_sleep(60)"))))
        thread.start()
        until(lambda: run(other, "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'", [pid]))
        conn.cancel()
        thread.join()
        assert caught[0].pgcode == "57014"
        assert run(conn, "SELECT 1") == [(1,)]
    with connected(options="-c statement_timeout=200") as conn:
        failure(sqlstate.QueryCanceled, lambda: run(conn, "SELECT pg_sleep(60)"))


def errors():
    with connected() as conn:
        twice = failure(sqlstate.UniqueViolation, lambda: run(conn, "INSERT INTO accounts (name, email) VALUES ('Zoe', 'zoe@test.com')"))
        assert (twice.diag.constraint_name, twice.diag.table_name) == ("accounts_email_key", "accounts")
        failure(sqlstate.SyntaxError, lambda: run(conn, "SELECT FROM WHERE"))
        ddl = failure(sqlstate.InsufficientPrivilege, lambda: run(conn, "CREATE TABLE more (id int)"))
        assert ddl.diag.message_primary == "DDL not allowed on tenant databases, use workspace mode"
        assert run(conn, "SELECT 1") == [(1,)]
    wrong = failure(psycopg2.OperationalError, lambda: psycopg2.connect(url(password="wrong")))
    assert f'password authentication failed for user "{USER}"' in str(wrong)
    failure(psycopg2.OperationalError, lambda: psycopg2.connect(url(database=OTHER_DATABASE)))


def listen():
    with connected() as conn, connected() as other:
        run(conn, "LISTEN news")
        run(other, "SELECT pg_notify('news', 'hello ☃')")
        while not conn.notifies:
            assert select.select([conn], [], [], 20)[0], "nothing was heard"
            conn.poll()
        assert (conn.notifies[0].channel, conn.notifies[0].payload) == ("news", "hello ☃")


def reconnect():
    with connected() as other:
        conn = psycopg2.connect(url())
        conn.autocommit = True
        [(pid,)] = run(conn, OWN_BACKEND)
        run(other, "SELECT pg_terminate_backend(%s)", [pid])
        until(lambda: not run(other, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]))
        lost = failure(psycopg2.OperationalError, lambda: run(conn, "SELECT 1"))
        assert "closed" in str(lost) and conn.closed, repr(lost)  # this driver does not keep the server's last words
    with connected() as again:
        assert run(again, "SELECT 1") == [(1,)]


report(
    psycopg2.__version__.split()[0],
    {
        "types": types,
        "prepared statements": prepared,
        "transactions": transactions,
        "pool": pool,
        "cancellation": cancellation,
        "errors": errors,
        "LISTEN": listen,
        "reconnect": reconnect,
    },
)
