"""Connects as each line of standard input says and prints what the driver shows its user. Argument: psycopg, psycopg2 or asyncpg."""

import asyncio
import sys


def tell(shown):
    print(" ".join(str(shown).split()), flush=True)


def with_dbapi(module, host, port, user, password, database, sslmode, sql):
    # No `with`: psycopg2 would roll back at its end, and hide why the connection was closed behind "connection already closed".
    connection = module.connect(host=host, port=port, user=user, password=password, dbname=database, sslmode=sslmode)
    try:
        connection.autocommit = True
        connection.cursor().execute(sql)
    finally:
        connection.close()


async def with_asyncpg(host, port, user, password, database, sslmode, sql):
    import asyncpg

    connection = await asyncpg.connect(host=host, port=port, user=user, password=password, database=database, ssl=sslmode)
    try:
        await connection.fetch(sql)
    finally:
        await connection.close()


def main():
    driver = sys.argv[1]
    for line in sys.stdin:
        given = line.rstrip("\n").split("\t")
        try:
            if driver == "asyncpg":
                asyncio.run(with_asyncpg(*given))
            else:
                with_dbapi(__import__(driver), *given)
            tell("no error")
        except Exception as error:
            tell(error)


main()
