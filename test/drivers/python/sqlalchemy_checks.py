"""SQLAlchemy 2 on psycopg 3, and on asyncpg with the argument `asyncpg`: what applications do with it."""
import asyncio
import ssl
import sys
import threading
from decimal import Decimal

import sqlalchemy
from report import BIG, BYTES, CA, DATABASE, HOST, ID, JSON, LIST, NUMERIC, OTHER_DATABASE, OWN_BACKEND, PASSWORD, PORT, TEXT, TIME, USER, report, report_async, skip, until
from sqlalchemy import ARRAY, ForeignKey, LargeBinary, Numeric, String, Text, URL, Uuid, bindparam, create_engine, func, inspect, select, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, insert
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    email: Mapped[str] = mapped_column(String(255), unique=True)
    balance: Mapped[Decimal] = mapped_column(Numeric(15, 2), default=0)
    transactions: Mapped[list["Transaction"]] = relationship(back_populates="account", cascade="all, delete-orphan")


class Transaction(Base):
    __tablename__ = "transactions"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    amount: Mapped[Decimal] = mapped_column(Numeric(15, 2))
    account: Mapped[Account] = relationship(back_populates="transactions")


def target(driver="psycopg", database=DATABASE, password=PASSWORD):
    return URL.create(f"postgresql+{driver}", USER, password, HOST, PORT, database)


def engine(**more):
    options = {"connect_args": {"sslmode": "verify-full", "sslrootcert": CA}, "pool_pre_ping": True, "pool_recycle": 1500}
    url = more.pop("url", target())
    return create_engine(url, **{**options, **more})


def failure(error, work):
    try:
        work()
    except error as caught:
        return caught
    raise AssertionError("it was expected to fail")


def types():
    values = {
        "t": (TEXT, Text()),
        "n": (NUMERIC, Numeric()),
        "j": (JSON, JSONB()),
        "l": (LIST, ARRAY(Text())),
        "b": (BYTES, LargeBinary()),
        "at": (TIME, TIMESTAMP(timezone=True)),
        "id": (ID, Uuid()),
    }
    columns = [sqlalchemy.cast(bindparam(name, value, type_=kind), kind).label(name) for name, (value, kind) in values.items()]
    with engine().connect() as conn:
        row = conn.execute(select(*columns, sqlalchemy.literal(BIG).label("big"))).one()
        assert tuple(row) == (*[value for value, _ in values.values()], BIG)
        streamed = conn.execution_options(yield_per=500).execute(text("SELECT generate_series(1, 20000)"))
        assert sum(1 for _ in streamed) == 20000


def models():
    with Session(engine()) as session:
        account = Account(name="Model", email="model@test.com", balance=Decimal("10.50"), transactions=[Transaction(amount=Decimal(at)) for at in range(1, 4)])
        session.add(account)
        session.commit()
        found = session.scalars(select(Account).where(Account.email == "model@test.com").options(selectinload(Account.transactions))).one()
        assert (found.balance, sorted(each.amount for each in found.transactions)) == (Decimal("10.50"), [1, 2, 3])
        assert session.scalar(select(func.sum(Transaction.amount))) == 6
        session.execute(insert(Account).values(name="Other", email="model@test.com").on_conflict_do_update(index_elements=["email"], set_={"name": "Other"}))
        session.commit()
        assert session.scalar(select(Account.name).where(Account.email == "model@test.com")) == "Other"
        session.execute(sqlalchemy.insert(Account), [{"name": f"n{at}", "email": f"many{at}"} for at in range(300)])
        session.rollback()
        session.delete(found)
        session.commit()
        assert session.scalar(select(func.count()).select_from(Transaction)) == 0


def reflection():
    names = inspect(engine()).get_table_names()
    assert {"accounts", "transactions"} <= set(names), names
    reflected = sqlalchemy.MetaData()
    reflected.reflect(engine(), only=["accounts", "transactions"])
    [key] = reflected.tables["transactions"].foreign_keys
    assert key.target_fullname == "accounts.id"


def prepared():
    made = engine(connect_args={"sslmode": "verify-full", "sslrootcert": CA, "prepare_threshold": 3})
    with made.connect() as conn:
        for at in range(50):
            assert conn.execute(text("SELECT CAST(:at AS int) * 2"), {"at": at}).scalar() == at * 2
        assert conn.execute(text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2'")).scalar() == 1


def transactions():
    count = text("SELECT count(*) FROM accounts WHERE email LIKE 'tx%'")
    add = text("INSERT INTO accounts (name, email) VALUES ('T', :email)")
    made = engine()
    with made.connect() as conn:
        conn.execute(add, {"email": "tx1"})
        conn.rollback()
        assert conn.execute(count).scalar() == 0
    with made.connect().execution_options(isolation_level="SERIALIZABLE") as conn, conn.begin():
        conn.execute(add, {"email": "tx1"})

        def again():
            with conn.begin_nested():
                conn.execute(add, {"email": "tx1"})

        failure(IntegrityError, again)
        conn.execute(add, {"email": "tx2"})
    with made.connect() as conn:
        assert conn.execute(count).scalar() == 2


def pool():
    made = engine(pool_size=4, max_overflow=0)
    seen = []

    def ask(at):
        with made.connect() as conn:
            seen.append(conn.execute(text("SELECT CAST(:at AS int), pg_backend_pid()"), {"at": at}).one())

    threads = [threading.Thread(target=ask, args=[at]) for at in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(at for at, _ in seen) == list(range(40))
    assert len({pid for _, pid in seen}) <= 4


def cancellation():
    made = engine(connect_args={"sslmode": "verify-full", "sslrootcert": CA, "options": "-c statement_timeout=300"})
    with made.connect() as conn:
        late = failure(OperationalError, lambda: conn.execute(text("SELECT pg_sleep(60)")))
        assert late.orig.sqlstate == "57014"
        conn.rollback()
        assert conn.execute(text("SELECT 1")).scalar() == 1


def errors():
    with engine().connect() as conn:
        twice = failure(IntegrityError, lambda: conn.execute(text("INSERT INTO accounts (name, email) VALUES ('Zoe', 'zoe@test.com')")))
        assert twice.orig.diag.constraint_name == "accounts_email_key"
        conn.rollback()
        ddl = failure(ProgrammingError, lambda: Base.metadata.create_all(conn, checkfirst=False))
        assert "DDL not allowed on tenant databases, use workspace mode" in str(ddl.orig)
        conn.rollback()
        assert conn.execute(text("SELECT 1")).scalar() == 1
    wrong = failure(OperationalError, lambda: engine(url=target(password="wrong")).connect())
    assert f'password authentication failed for user "{USER}"' in str(wrong)
    failure(OperationalError, lambda: engine(url=target(database=OTHER_DATABASE)).connect())


def reconnect():
    made = engine(pool_size=1, max_overflow=0)
    other = engine()

    def ask(on):
        with on.connect() as conn:
            return conn.execute(text(OWN_BACKEND)).scalar()

    first = ask(made)
    with other.connect() as conn:
        conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
    assert ask(made) != first  # pool_pre_ping
    # Without it the request fails once, the pool throws its connections away, and the next one works.
    made = engine(pool_size=1, max_overflow=0, pool_pre_ping=False)
    first = ask(made)
    with other.connect() as conn:
        conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
        until(lambda: not conn.execute(text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid"), {"pid": first}).scalar())
    lost = failure(DBAPIError, lambda: ask(made))
    assert lost.connection_invalidated and lost.orig.sqlstate == "57P01", repr(lost)
    assert ask(made) != first


async def on_asyncpg(work, **more):
    made = create_async_engine(target("asyncpg"), connect_args={"ssl": ssl.create_default_context(cafile=CA)}, pool_pre_ping=True, **more)
    try:
        return await work(made)
    finally:
        await made.dispose()


async def async_models():
    async def work(made):
        async with async_sessionmaker(made)() as session:
            session.add(Account(name="Async", email="async@test.com", transactions=[Transaction(amount=Decimal(2))]))
            await session.commit()
            found = (await session.scalars(select(Account).where(Account.email == "async@test.com").options(selectinload(Account.transactions)))).one()
            assert [each.amount for each in found.transactions] == [2]
            await session.delete(found)
            await session.commit()

    await on_asyncpg(work)


async def async_transactions():
    async def work(made):
        async with made.connect() as conn:
            await conn.execute(text("INSERT INTO accounts (name, email) VALUES ('T', 'tx')"))
            await conn.rollback()
            async with conn.begin():
                try:
                    async with conn.begin_nested():
                        await conn.execute(text("INSERT INTO accounts (name, email) VALUES ('Zoe', 'zoe@test.com')"))
                    raise AssertionError("it was expected to fail")
                except IntegrityError as twice:
                    assert twice.orig.sqlstate == "23505"
                assert (await conn.execute(text("SELECT count(*) FROM accounts WHERE email = 'tx'"))).scalar() == 0

    await on_asyncpg(work)


async def async_pool():
    async def work(made):
        async def ask(at):
            async with made.connect() as conn:
                return (await conn.execute(text("SELECT CAST(:at AS int), pg_backend_pid()"), {"at": at})).one()

        rows = await asyncio.gather(*[ask(at) for at in range(40)])
        assert [at for at, _ in rows] == list(range(40))
        assert len({pid for _, pid in rows}) <= 4

    await on_asyncpg(work, pool_size=4, max_overflow=0)


async def async_reconnect():
    async def work(made):
        async def ask():
            async with made.connect() as conn:
                return (await conn.execute(text(OWN_BACKEND))).scalar()

        first = await ask()

        async def end(other):
            async with other.connect() as conn:
                await conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})

        await on_asyncpg(end)
        assert await ask() != first

    await on_asyncpg(work, pool_size=1, max_overflow=0)


async def async_prepared():
    async def work(made):
        async with made.connect() as conn:
            for at in range(50):
                assert (await conn.execute(text("SELECT CAST(:at AS int) * 2"), {"at": at})).scalar() == at * 2
            assert (await conn.execute(text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%* 2'"))).scalar() == 1

    await on_asyncpg(work)


if "asyncpg" in sys.argv:
    elsewhere = skip("asyncpg's own row shows it")
    checks = {
        "types": elsewhere,
        "models": async_models,
        "prepared statements": async_prepared,
        "transactions": async_transactions,
        "pool": async_pool,
        "cancellation": elsewhere,
        "errors": elsewhere,
        "LISTEN": skip("it has none; the driver beside it does"),
        "reconnect": async_reconnect,
    }
    asyncio.run(report_async(sqlalchemy.__version__, checks))
else:
    checks = {
        "types": types,
        "models": models,
        "reflection": reflection,
        "prepared statements": prepared,
        "transactions": transactions,
        "pool": pool,
        "cancellation": cancellation,
        "errors": errors,
        "LISTEN": skip("it has none; the driver beside it does"),
        "reconnect": reconnect,
    }
    report(sqlalchemy.__version__, checks)
