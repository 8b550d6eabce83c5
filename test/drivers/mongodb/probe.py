# pymongo as a user's program: looks for documents at each URI, prints how many there are or the error's own words. Arguments as in clients.ts.
import sys

from pymongo import MongoClient
from pymongo.errors import PyMongoError


def attempt(uri):
    with MongoClient(uri) as client:
        try:
            return f"{len(list(client.get_default_database().orders.find()))} documents"
        except PyMongoError as error:
            return str(error)


for uri in sys.argv[1:]:
    print(attempt(uri).replace("\n", " "), flush=True)
