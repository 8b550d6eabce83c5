"""asyncpg: what applications do with it."""
import asyncio
import json
import ssl

import asyncpg
from report import BIG, BYTES, CA, DATABASE, HOST, ID, JSON, LIST, NUMERIC, OTHER_DATABASE, OWN_BACKEND, PASSWORD, PORT, SHARES, TEXT, TIME, USER, report_async

TARGET = {"host": HOST, "port": PORT, "user": USER, "password": PASSWORD, "database": DATABASE, "ssl": ssl.create_default_context(cafile=CA)}
INSERT = "INSERT INTO accounts (name, email) VALUES ('T', $1)"


class Connected:
    def __init__(self, **more):
        self.more = more

    async def __aenter__(self):
        self.conn = await asyncpg.connect(**{**TARGET, **self.more})
        return self.conn

    async def __aexit__(self, *_):
        await self.conn.close()


async def failure(error, work):
    try:
        await work
    except error as caught:
        return caught
    raise AssertionError("it was expected to fail")


async def types():
    async with Connected() as conn:
        await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        sql = "SELECT $1::text, $2::bigint, $3::numeric, $4::jsonb, $5::text[], $6::bytea, $7::timestamptz, $8::uuid, $9::text, $10::bool"
        values = (TEXT, BIG, NUMERIC, JSON, LIST, BYTES, TIME, ID, None, True)
        assert tuple(await conn.fetchrow(sql, *values)) == values
        # Its look-up of a type it does not know, as enums and composites need it.
        assert await conn.fetchval("SELECT (1, 'a')::text") == "(1,a)"
        assert (await conn.fetchval("SELECT t FROM accounts t WHERE email = 'zoe@test.com'"))["name"] == "Zoe"
        async with conn.transaction():
            assert len([row async for row in conn.cursor("SELECT generate_series(1, 20000)")]) == 20000


async def prepared():
    async with Connected() as conn:
        double = await conn.prepare("SELECT $1::int * 2")
        for at in range(50):
            assert await double.fetchval(at) == at * 2
        await conn.executemany("INSERT INTO accounts (name, email) VALUES ($1, $2)", [(f"n{at}", f"many{at}") for at in range(300)])
        assert await conn.fetchval("SELECT count(*) FROM accounts WHERE email LIKE 'many%'") == 300


async def transactions():
    count = "SELECT count(*) FROM accounts WHERE email LIKE 'tx%'"
    async with Connected() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(INSERT, "tx1")
        await transaction.rollback()
        assert await conn.fetchval(count) == 0
        async with conn.transaction(isolation="serializable"):
            await conn.execute(INSERT, "tx1")

            async def again():
                async with conn.transaction():
                    await conn.execute(INSERT, "tx1")

            await failure(asyncpg.UniqueViolationError, again())
            await conn.execute(INSERT, "tx2")
        assert await conn.fetchval(count) == 2


async def pool():
    async with asyncpg.create_pool(**TARGET, min_size=1, max_size=4) as connections:
        rows = await asyncio.gather(*[connections.fetchrow("SELECT $1::int, pg_backend_pid()", at) for at in range(40)])
    assert [at for at, _ in rows] == list(range(40))
    assert len({pid for _, pid in rows}) <= 4


async def cancellation():
    async with Connected() as conn, Connected() as other:
        # Its timeouts send a CancelRequest.
        await failure(TimeoutError, conn.fetch("SELECT pg_sleep(60)", timeout=0.3))
        assert await conn.fetchval("SELECT 1") == 1
        pid = await conn.fetchval(OWN_BACKEND)
        assert SHARES or pid == conn.get_server_pid()
        sleeping = asyncio.create_task(failure(asyncpg.QueryCanceledError, conn.fetch("SELECT pg_sleep(60)")))
        async with asyncio.timeout(20):
            while not await other.fetchval("SELECT true FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", pid):
                await asyncio.sleep(0.025)
        assert await other.fetchval("SELECT pg_cancel_backend($1)", pid)
        await sleeping
        assert await conn.fetchval("SELECT 1") == 1


async def errors():
    async with Connected() as conn:
        twice = await failure(asyncpg.UniqueViolationError, conn.execute(INSERT, "zoe@test.com"))
        assert (twice.constraint_name, twice.table_name) == ("accounts_email_key", "accounts")
        syntax = await failure(asyncpg.PostgresSyntaxError, conn.fetch("SELECT FROM WHERE"))
        assert syntax.position == "13"
        for work in (conn.execute("CREATE TABLE more (id int)"), conn.fetch("CREATE TABLE more (id int)")):
            ddl = await failure(asyncpg.InsufficientPrivilegeError, work)
            assert ddl.message == "DDL not allowed on tenant databases, use workspace mode"
        assert await conn.fetchval("SELECT 1") == 1
    wrong = await failure(asyncpg.InvalidPasswordError, asyncpg.connect(**{**TARGET, "password": "wrong"}))
    assert wrong.message == f'password authentication failed for user "{USER}"'
    await failure(asyncpg.PostgresError, asyncpg.connect(**{**TARGET, "database": OTHER_DATABASE}))


async def listen():
    async with Connected() as conn, Connected() as other:
        heard = asyncio.get_running_loop().create_future()
        await conn.add_listener("news", lambda _conn, _pid, channel, payload: heard.set_result((channel, payload)))
        await other.execute("SELECT pg_notify('news', 'hello ☃')")
        assert await asyncio.wait_for(heard, 20) == ("news", "hello ☃")


async def reconnect():
    async with asyncpg.create_pool(**TARGET, min_size=1, max_size=1) as connections, Connected() as other:
        async with connections.acquire() as conn:
            first = await conn.fetchval(OWN_BACKEND)
            ended = asyncio.get_running_loop().create_future()
            conn.add_termination_listener(lambda _conn: ended.set_result(None))
            await other.execute("SELECT pg_terminate_backend($1)", first)
            await asyncio.wait_for(ended, 20)
        assert await connections.fetchval("SELECT pg_backend_pid()") != first


asyncio.run(
    report_async(
        asyncpg.__version__,
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
)
