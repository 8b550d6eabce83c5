"""A client pool, its argument, under a gateway that drops idle clients after three seconds: what the guide advises against its 1800, at scale.

The time that passes is what is tried here; the three run side by side.
"""
import asyncio
import ssl
import sys
import threading
import time

from report import CA, DATABASE, HOST, PASSWORD, PORT, USER, outcome, url

IDLE_LIMIT = 3


def sqlalchemy_pool(pre_ping, recycle):
    from sqlalchemy import URL, create_engine, text

    target = URL.create("postgresql+psycopg", USER, PASSWORD, HOST, PORT, DATABASE)
    options = {"pool_pre_ping": pre_ping, "pool_recycle": recycle or -1, "pool_size": 1, "max_overflow": 0}
    engine = create_engine(target, connect_args={"sslmode": "verify-full", "sslrootcert": CA}, **options)

    def ask(sql):
        with engine.connect() as conn:
            return conn.execute(text(sql)).scalar()

    return ask, engine.dispose


def psycopg_pool_(pre_ping, recycle):
    from psycopg_pool import ConnectionPool

    check = ConnectionPool.check_connection if pre_ping else None
    # Its lifetime has a spread of its own; idle connections above the least number go earlier.
    pool = ConnectionPool(url(), min_size=0, max_size=1, open=True, check=check, max_idle=recycle or 600, max_lifetime=recycle or 3600)

    def ask(sql):
        with pool.connection() as conn:
            return conn.execute(sql).fetchone()[0]

    return ask, pool.close


def asyncpg_pool(pre_ping, recycle):
    import asyncpg

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def make():
        context = ssl.create_default_context(cafile=CA)
        target = {"host": HOST, "port": PORT, "user": USER, "password": PASSWORD, "database": DATABASE, "ssl": context}
        return await asyncpg.create_pool(**target, min_size=0, max_size=1, max_inactive_connection_lifetime=recycle or 0)

    pool = run(make())
    return lambda sql: run(pool.fetchval(sql)), lambda: run(pool.close())


def django_pool(pre_ping, recycle):
    import django
    from django.conf import settings
    from django.db import close_old_connections, connections

    if not settings.configured:
        options = {"sslmode": "verify-full", "sslrootcert": CA}
        base = {"ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "NAME": DATABASE, "USER": USER, "PASSWORD": PASSWORD, "OPTIONS": options}
        checked = base | {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
        settings.configure(DATABASES={"default": checked, "checked": checked, "recycled": base | {"CONN_MAX_AGE": 1}})
        django.setup()

    def ask(sql):
        close_old_connections()  # as at the beginning and the end of each web request
        with connections["recycled" if recycle else "checked"].cursor() as cursor:
            cursor.execute(sql)
            [value] = cursor.fetchone()
        close_old_connections()
        return value

    return ask, lambda: None


PACKAGES = {"sqlalchemy": sqlalchemy_pool, "psycopg_pool": psycopg_pool_, "asyncpg": asyncpg_pool, "django": django_pool}
name = sys.argv[1]
make = PACKAGES[name]
ONE = "SELECT 1"


def checked(ask):
    assert ask(ONE) == 1
    time.sleep(2 * IDLE_LIMIT)
    assert ask(ONE) == 1


def recycled(ask):
    for factor in (0.1, 0.5, 0.75, 1.5):
        assert ask(ONE) == 1
        time.sleep(IDLE_LIMIT * factor)
    assert ask(ONE) == 1


def long_request(ask):
    ask("SELECT pg_sleep(4)::text")
    assert ask(ONE) == 1


found = {}


def try_out(check, work, **options):
    try:
        ask, close = make(**options)
        work(ask)
        close()
        found[check] = None
    except Exception as caught:
        found[check] = caught


print(f"version {__import__(name).__version__ if name != 'django' else __import__('django').get_version()}")
threads = [
    threading.Thread(target=try_out, args=["checked before use", checked], kwargs={"pre_ping": True, "recycle": None}),
    threading.Thread(target=try_out, args=["recycled in time", recycled], kwargs={"pre_ping": False, "recycle": IDLE_LIMIT / 3}),
    threading.Thread(target=try_out, args=["long request", long_request], kwargs={"pre_ping": False, "recycle": None}),
]
if name == "django":
    make(True, None)  # its settings are made once
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for check, error in found.items():
    print(outcome(check, error))
