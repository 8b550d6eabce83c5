# PyMySQL as a user's program: connects, runs a statement, prints what came back or the error's own words. Arguments as in clients.ts.
import sys

import pymysql

host, port, user, ca, *attempts = sys.argv[1:]


def attempt(password, database, tls, sql):
    security = {"ssl": {"ca": ca}} if tls == "tls" else {"ssl_disabled": True}
    try:
        connection = pymysql.connect(host=host, port=int(port), user=user, password=password, database=database or None, **security)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return ",".join(str(row[0]) for row in cursor.fetchall())
    except pymysql.MySQLError as error:
        return str(error)


for each in attempts:
    print(attempt(*each.split("\t")).replace("\n", " "), flush=True)
