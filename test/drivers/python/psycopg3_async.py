"""psycopg 3, asynchronous: what applications do with it. With the argument `pipeline`, its pipeline mode."""
import asyncio
import sys

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from report import BIG, BYTES, ID, JSON, LIST, NUMERIC, OTHER_DATABASE, OWN_BACKEND, TEXT, TIME, USER, report_async, skip, url

INSERT = "INSERT INTO accounts (name, email) VALUES ('T', %s)"
COUNT = "SELECT count(*) FROM accounts WHERE email LIKE 'tx%'"


def connect(**more):
    return psycopg.AsyncConnection.connect(url(), connect_timeout=20, **more)


async def failure(error, work):
    try:
        await work
    except error as caught:
        return caught
    raise AssertionError("it was expected to fail")


async def one(conn, sql, values=None, **more):
    return await (await conn.execute(sql, values, **more)).fetchone()


async def until(ask):
    async with asyncio.timeout(20):
        while not await ask():
            await asyncio.sleep(0.025)


async def types():
    sql = "SELECT %s::text, %s::bigint, %s::numeric, %s::jsonb, %s::text[], %s::bytea, %s::timestamptz, %s::uuid, %s::text, %s::bool"
    async with await connect() as conn:
        got = await one(conn, sql, [TEXT, BIG, NUMERIC, Jsonb(JSON), LIST, BYTES, TIME, ID, None, True])
        assert got == (TEXT, BIG, NUMERIC, JSON, LIST, BYTES, TIME, ID, None, True)
        async with conn.cursor(name="walk") as cursor:
            await cursor.execute("SELECT generate_series(1, 20000)")
            assert len([row async for row in cursor]) == 20000


async def prepared():
    async with await connect(autocommit=True) as conn:
        for at in range(50):
            assert await one(conn, "SELECT %s::int * 2", [at], prepare=True) == (at * 2,)
        assert await one(conn, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2'", prepare=False) == (1,)


async def transactions():
    async with await connect(autocommit=True) as conn:
        async with conn.transaction(force_rollback=True):
            await conn.execute(INSERT, ["tx1"])
        assert await one(conn, COUNT) == (0,)
        async with conn.transaction():
            await conn.execute(INSERT, ["tx1"])

            async def again():
                async with conn.transaction():
                    await conn.execute(INSERT, ["tx1"])

            await failure(psycopg.errors.UniqueViolation, again())
            await conn.execute(INSERT, ["tx2"])
        assert await one(conn, COUNT) == (2,)
        await conn.execute("DELETE FROM accounts WHERE email LIKE 'tx%'")


async def pool():
    async with AsyncConnectionPool(url(), min_size=1, max_size=4, open=False) as connections:

        async def ask(at):
            async with connections.connection() as conn:
                return await one(conn, "SELECT %s::int, pg_backend_pid()", [at])

        rows = await asyncio.gather(*[ask(at) for at in range(40)])
    assert [at for at, _ in rows] == list(range(40))
    assert len({pid for _, pid in rows}) <= 4


async def cancellation():
    async with await connect(autocommit=True) as conn, await connect(autocommit=True) as other:
        sleeping = asyncio.create_task(failure(psycopg.errors.QueryCanceled, conn.execute("SELECT pg_sleep(60), 'cancel me'")))
        await until(lambda: one(other, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%cancel me%' AND pid <> pg_backend_pid()"))
        await conn.cancel_safe()
        await sleeping
        assert await one(conn, "SELECT 1") == (1,)
        # A task that is cancelled cancels its query too.
        sleeping = asyncio.create_task(conn.execute("SELECT pg_sleep(60), 'drop me'"))
        await until(lambda: one(other, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%drop me%' AND pid <> pg_backend_pid()"))
        sleeping.cancel()
        await failure(asyncio.CancelledError, sleeping)
        await until(lambda: one(other, "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%drop me%' AND state = 'active' AND pid <> pg_backend_pid())"))


async def errors():
    async with await connect(autocommit=True) as conn:
        twice = await failure(psycopg.errors.UniqueViolation, conn.execute(INSERT, ["zoe@test.com"]))
        assert twice.diag.constraint_name == "accounts_email_key"
        ddl = await failure(psycopg.errors.InsufficientPrivilege, conn.execute("CREATE TABLE more (id int)"))
        assert ddl.diag.message_primary == "DDL not allowed on tenant databases, use workspace mode"
        assert await one(conn, "SELECT 1") == (1,)
    wrong = await failure(psycopg.OperationalError, psycopg.AsyncConnection.connect(url(password="wrong")))
    assert f'password authentication failed for user "{USER}"' in str(wrong)
    await failure(psycopg.OperationalError, psycopg.AsyncConnection.connect(url(database=OTHER_DATABASE)))


async def listen():
    async with await connect(autocommit=True) as conn, await connect(autocommit=True) as other:
        await conn.execute("LISTEN news")
        await other.execute("SELECT pg_notify('news', 'hello ☃')")
        async for heard in conn.notifies(timeout=20, stop_after=1):
            assert (heard.channel, heard.payload) == ("news", "hello ☃")
            return
        raise AssertionError("nothing was heard")


async def reconnect():
    async with AsyncConnectionPool(url(), min_size=1, max_size=1, open=False, check=AsyncConnectionPool.check_connection) as connections:

        async def ask():
            async with connections.connection() as conn:
                return (await one(conn, OWN_BACKEND))[0]

        first = await ask()
        async with await connect(autocommit=True) as other:
            await other.execute("SELECT pg_terminate_backend(%s)", [first])
        assert await ask() != first


async def pipeline_results():
    async with await connect(autocommit=True) as conn:
        async with conn.pipeline():
            cursors = [await conn.execute("SELECT %s::int * 2", [at]) for at in range(500)]
            assert [(await cursor.fetchone())[0] for cursor in cursors] == [at * 2 for at in range(500)]
        await conn.cursor().executemany("INSERT INTO accounts (name, email) VALUES (%s, %s)", [(f"n{at}", f"many{at}") for at in range(300)])
        assert await one(conn, "SELECT count(*) FROM accounts WHERE email LIKE 'many%'") == (300,)


async def pipeline_prepared():
    async with await connect(autocommit=True) as conn:
        async with conn.pipeline():
            cursors = [await conn.execute("SELECT %s::int * 3", [at], prepare=True) for at in range(50)]
            assert [(await cursor.fetchone())[0] for cursor in cursors] == [at * 3 for at in range(50)]


async def pipeline_transactions():
    async with await connect(autocommit=True) as conn:

        async def fails():
            async with conn.pipeline(), conn.transaction():
                await conn.execute(INSERT, ["tx1"])
                await conn.execute(INSERT, ["tx1"])
                await conn.execute(INSERT, ["tx2"])

        await failure(psycopg.errors.UniqueViolation, fails())
        assert await one(conn, COUNT) == (0,)
        async with conn.pipeline(), conn.transaction():
            for at in range(10):
                await conn.execute(INSERT, [f"tx{at}"])
        assert await one(conn, COUNT) == (10,)
        await conn.execute("DELETE FROM accounts WHERE email LIKE 'tx%'")


async def pipeline_errors():
    async with await connect(autocommit=True) as conn:

        async def fails():
            async with conn.pipeline() as pipeline:
                await conn.execute("SELECT 1")
                await conn.execute("CREATE TABLE more (id int)")
                await conn.execute("SELECT 2")
                await pipeline.sync()

        ddl = await failure(psycopg.errors.InsufficientPrivilege, fails())
        assert ddl.diag.message_primary == "DDL not allowed on tenant databases, use workspace mode"
        assert await one(conn, "SELECT 1") == (1,)


checks = {
    "types": types,
    "prepared statements": prepared,
    "transactions": transactions,
    "pool": pool,
    "cancellation": cancellation,
    "errors": errors,
    "LISTEN": listen,
    "reconnect": reconnect,
}
if "pipeline" in sys.argv:
    elsewhere = skip("the same as without it; see psycopg 3, async")
    checks = {name: elsewhere for name in checks} | {
        "results in order": pipeline_results,
        "prepared statements": pipeline_prepared,
        "transactions": pipeline_transactions,
        "errors": pipeline_errors,
    }

asyncio.run(report_async(psycopg.__version__, checks))
