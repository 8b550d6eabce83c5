"""How a driver's program reports: a line for each check, as support/language.ts says."""
import inspect
import os
import time
import traceback
from datetime import datetime, timezone
from decimal import Decimal
from uuid import UUID

env = os.environ
HOST, PORT, USER, CA = env["TDB_HOST"], int(env["TDB_PORT"]), env["TDB_USER"], env["TDB_CA_FILE"]
# The tenant wayne, who has one account, Zoe's.
DATABASE, PASSWORD = env["TDB_DATABASE"], env["TDB_PASSWORD"]
OTHER_DATABASE = env["TDB_OTHER_DATABASE"]
# pool_mode=transaction: a backend for each transaction.
SHARES = env.get("TDB_POOL_MODE") == "transaction"
# The backend of a session that keeps it: where backends are shared, it is the advisory lock that it is kept for.
OWN_BACKEND = "SELECT pg_backend_pid()" + (" FROM pg_advisory_lock_shared(1)" if SHARES else "")


def url(database=DATABASE, password=PASSWORD, scheme="postgresql"):
    return f"{scheme}://{USER}:{password}@{HOST}:{PORT}/{database}?sslmode=verify-full&sslrootcert={CA}"


class Skip(Exception):
    """Why the driver has no way to do it."""


def skip(reason):
    def check():
        raise Skip(reason)

    return check


def outcome(name, error):
    if error is None:
        return f"ok {name}"
    if isinstance(error, Skip):
        return f"skip {name}: {error}"
    traceback.print_exception(error)
    return f"fail {name}: {type(error).__name__} {error}".replace("\n", " ")


def report(version, checks):
    print(f"version {version}")
    for name, check in checks.items():
        try:
            check()
            error = None
        except Exception as caught:
            error = caught
        print(outcome(name, error), flush=True)


async def report_async(version, checks):
    print(f"version {version}")
    for name, check in checks.items():
        try:
            done = check()
            if inspect.isawaitable(done):
                await done
            error = None
        except Exception as caught:
            error = caught
        print(outcome(name, error), flush=True)


def until(ask):
    deadline = time.monotonic() + 20
    while not ask():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.025)


# Values that are lost or bent where a driver, or what is between, gets a type wrong.
TEXT = "naïve ☃ 𝄞 'quoted' \\ back\nline"
BIG = 9223372036854775807
NUMERIC = Decimal("12345678901234567890.123456789")
JSON = {"a": [1, "two", None], "☃": {"deep": True}}
LIST = ["a", 'b"c', "d,e", "☃"]
BYTES = bytes([0, 1, 2, 127, 128, 254, 255])
TIME = datetime(2024, 2, 29, 12, 34, 56, 789000, tzinfo=timezone.utc)
ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
