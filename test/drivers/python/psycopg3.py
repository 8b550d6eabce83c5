"""psycopg 3, synchronous: what applications do with it."""
import threading

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool
from report import BIG, BYTES, HOST, ID, JSON, LIST, NUMERIC, OTHER_DATABASE, OWN_BACKEND, TEXT, TIME, USER, report, until, url


def connect(**more):
    return psycopg.connect(url(), connect_timeout=20, **more)


def failure(error, work):
    try:
        work()
    except error as caught:
        return caught
    raise AssertionError("it was expected to fail")


def types():
    sql = "SELECT %s::text, %s::bigint, %s::numeric, %s::jsonb, %s::text[], %s::bytea, %s::timestamptz, %s::uuid, %s::text, %s::bool"
    values = [TEXT, BIG, NUMERIC, Jsonb(JSON), LIST, BYTES, TIME, ID, None, True]
    expected = (TEXT, BIG, NUMERIC, JSON, LIST, BYTES, TIME, ID, None, True)
    with connect() as conn:
        assert conn.execute(sql, values).fetchone() == expected
        assert conn.execute(sql, values, binary=True).fetchone() == expected
        with conn.cursor(name="walk") as cursor:
            cursor.execute("SELECT generate_series(1, 20000)")
            assert sum(1 for _ in cursor) == 20000
        with conn.cursor() as cursor:
            assert sum(1 for _ in cursor.stream("SELECT generate_series(1, 20000)")) == 20000


def prepared():
    with connect(autocommit=True) as conn:
        for at in range(50):
            assert conn.execute("SELECT %s::int * 2", [at], prepare=True).fetchone() == (at * 2,)
        assert conn.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2'", prepare=False).fetchone() == (1,)


def transactions():
    insert = "INSERT INTO accounts (name, email) VALUES ('T', %s)"
    count = "SELECT count(*) FROM accounts WHERE email LIKE 'tx%'"
    with connect(autocommit=True) as conn:
        with conn.transaction(force_rollback=True):
            conn.execute(insert, ["tx1"])
        assert conn.execute(count).fetchone() == (0,)
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        with conn.transaction():
            conn.execute(insert, ["tx1"])

            def again():
                with conn.transaction():
                    conn.execute(insert, ["tx1"])

            failure(psycopg.errors.UniqueViolation, again)
            conn.execute(insert, ["tx2"])
        assert conn.execute(count).fetchone() == (2,)
    with connect() as conn:
        failure(psycopg.errors.DivisionByZero, lambda: conn.execute("SELECT 1 / 0"))
        failure(psycopg.errors.InFailedSqlTransaction, lambda: conn.execute("SELECT 1"))
        conn.rollback()
        assert conn.execute("SELECT 1").fetchone() == (1,)


def pool():
    seen = set()
    with ConnectionPool(url(), min_size=1, max_size=4, open=True) as connections:

        def ask(at):
            with connections.connection() as conn:
                seen.add(conn.execute("SELECT %s::int, pg_backend_pid()", [at]).fetchone())

        threads = [threading.Thread(target=ask, args=[at]) for at in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {at for at, _ in seen} == set(range(40))
    assert len({pid for _, pid in seen}) <= 4


def cancellation():
    with connect(autocommit=True) as conn, connect(autocommit=True) as other:
        caught = []
        thread = threading.Thread(target=lambda: caught.append(failure(psycopg.errors.QueryCanceled, lambda: conn.execute("SELECT pg_sleep(60), 'cancel me'"))))
        thread.start()
        until(lambda: other.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%cancel me%' AND pid <> pg_backend_pid()").fetchone())
        conn.cancel_safe()  # its own CancelRequest, over TLS
        thread.join()
        assert caught[0].sqlstate == "57014"
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with connect(autocommit=True, options="-c statement_timeout=200") as conn:
        failure(psycopg.errors.QueryCanceled, lambda: conn.execute("SELECT pg_sleep(60)"))
        assert conn.execute("SELECT 1").fetchone() == (1,)


def required_authentication():
    """What libpq is told to demand: SCRAM is what it gets, and nothing weaker is offered."""
    with connect(require_auth="scram-sha-256") as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    for weaker in ("none", "password", "md5", "!scram-sha-256"):
        refused = failure(psycopg.OperationalError, lambda: connect(require_auth=weaker))
        assert "authentication method requirement" in str(refused), (weaker, str(refused))


def errors():
    with connect(autocommit=True) as conn:
        twice = failure(psycopg.errors.UniqueViolation, lambda: conn.execute("INSERT INTO accounts (name, email) VALUES ('Zoe', 'zoe@test.com')"))
        assert (twice.diag.constraint_name, twice.diag.table_name) == ("accounts_email_key", "accounts")
        syntax = failure(psycopg.errors.SyntaxError, lambda: conn.execute("SELECT FROM WHERE"))
        assert syntax.diag.statement_position == "13"
        ddl = failure(psycopg.errors.InsufficientPrivilege, lambda: conn.execute("CREATE TABLE more (id int)"))
        assert ddl.diag.message_primary == "DDL not allowed on tenant databases, use workspace mode"
        assert conn.execute("SELECT 1").fetchone() == (1,)
    wrong = failure(psycopg.OperationalError, lambda: psycopg.connect(url(password="wrong")))
    assert f'password authentication failed for user "{USER}"' in str(wrong)
    failure(psycopg.OperationalError, lambda: psycopg.connect(url(database=OTHER_DATABASE)))
    required_authentication()


def listen():
    with connect(autocommit=True) as conn, connect(autocommit=True) as other:
        conn.execute("LISTEN news")
        other.execute("SELECT pg_notify('news', 'hello ☃')")
        heard = next(conn.notifies(timeout=20))
        assert (heard.channel, heard.payload) == ("news", "hello ☃")


def reconnect():
    with ConnectionPool(url(), min_size=1, max_size=1, open=True, check=ConnectionPool.check_connection) as connections:

        def ask():
            with connections.connection() as conn:
                return conn.execute(OWN_BACKEND).fetchone()[0]

        first = ask()
        with connect(autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [first])
        assert ask() != first
    with connect(autocommit=True) as conn, connect(autocommit=True) as other:
        pid = conn.execute(OWN_BACKEND).fetchone()[0]
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
        until(lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone())
        failure(psycopg.errors.AdminShutdown, lambda: conn.execute("SELECT 1"))
        assert conn.closed


report(
    psycopg.__version__,
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
