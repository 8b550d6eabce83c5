# redis-py as a user's program: connects, asks, prints the error's own words. Arguments as in clients.ts.
import sys

import redis

port, ca, *attempts = sys.argv[1:]


def attempt(user, password, tls):
    security = {"ssl": True, "ssl_ca_certs": ca} if tls == "tls" else {}
    client = redis.Redis(host="localhost", port=int(port), username=user or None, password=password, **security)
    try:
        return f"answered with {client.get('a')}"
    except redis.RedisError as error:
        return str(error)
    finally:
        client.close()


for each in attempts:
    print(attempt(*each.split("\t")).replace("\n", " "), flush=True)
