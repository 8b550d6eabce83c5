"""Django's ORM on psycopg 3: what applications do with it."""
import threading
from decimal import Decimal

import django
from django.conf import settings
from report import CA, DATABASE, HOST, ID, JSON, OTHER_DATABASE, OWN_BACKEND, PASSWORD, PORT, TEXT, TIME, USER, report, skip, until


def database(**more):
    options = {"sslmode": "verify-full", "sslrootcert": CA, **more.pop("OPTIONS", {})}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": HOST,
        "PORT": PORT,
        "NAME": DATABASE,
        "USER": USER,
        "PASSWORD": PASSWORD,
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": 1500,
        "OPTIONS": options,
        **more,
    }


settings.configure(
    USE_TZ=True,
    DATABASES={
        "default": database(),
        "other": database(),
        "pooled": database(CONN_MAX_AGE=0, OPTIONS={"pool": {"min_size": 1, "max_size": 4}}),
        "impatient": database(OPTIONS={"options": "-c statement_timeout=300"}),
        "prepared": database(OPTIONS={"server_side_binding": True, "prepare_threshold": 3}),
        "wrong": database(PASSWORD="wrong"),
        "elsewhere": database(NAME=OTHER_DATABASE),
    },
    INSTALLED_APPS=[],
)
django.setup()

from django.db import IntegrityError, OperationalError, ProgrammingError, connections, models, transaction  # noqa: E402
from django.db.models import F, Sum, Value  # noqa: E402
from django.db.models.functions import Cast  # noqa: E402


class Account(models.Model):
    name = models.CharField(max_length=255)
    email = models.CharField(max_length=255, unique=True)
    balance = models.DecimalField(max_digits=15, decimal_places=2, default=0)

    class Meta:
        app_label = "shop"
        db_table = "accounts"


class Transaction(models.Model):
    account = models.ForeignKey(Account, models.CASCADE, related_name="transactions")
    amount = models.DecimalField(max_digits=15, decimal_places=2)

    class Meta:
        app_label = "shop"
        db_table = "transactions"


def one(sql, values=None, using="default"):
    with connections[using].cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()


def failure(error, work):
    try:
        work()
    except error as caught:
        return caught
    raise AssertionError("it was expected to fail")


def types():
    kinds = [
        (TEXT, models.TextField()),
        (Decimal("1234567890.12"), models.DecimalField(max_digits=15, decimal_places=2)),
        (JSON, models.JSONField()),
        (TIME, models.DateTimeField()),
        (ID, models.UUIDField()),
        (True, models.BooleanField()),
    ]
    casts = {f"v{at}": Cast(Value(value, output_field=kind), kind) for at, (value, kind) in enumerate(kinds)}
    got = Account.objects.annotate(**casts).values_list(*casts).get(email="zoe@test.com")
    assert got == tuple(value for value, _ in kinds), got
    Account.objects.bulk_create([Account(name=f"n{at}", email=f"many{at}") for at in range(2500)])
    assert sum(1 for _ in Account.objects.filter(email__startswith="many").iterator(chunk_size=200)) == 2500
    Account.objects.filter(email__startswith="many").delete()


def orm():
    account = Account.objects.create(name="Model", email="model@test.com", balance=Decimal("10.50"))
    Transaction.objects.bulk_create([Transaction(account=account, amount=at) for at in range(1, 4)])
    found = Account.objects.prefetch_related("transactions").get(email="model@test.com")
    assert (found.balance, sorted(each.amount for each in found.transactions.all())) == (Decimal("10.50"), [1, 2, 3])
    assert account.transactions.aggregate(total=Sum("amount")) == {"total": 6}
    with transaction.atomic():
        locked = Account.objects.select_for_update().get(pk=account.pk)
        locked.balance = F("balance") + 1
        locked.save()
    assert Account.objects.get(pk=account.pk).balance == Decimal("11.50")
    assert Account.objects.update_or_create(email="model@test.com", defaults={"name": "Other"})[1] is False
    account.transactions.all().delete()
    account.delete()
    assert not Transaction.objects.exists()


def reflection():
    with connections["default"].cursor() as cursor:
        tables = connections["default"].introspection.table_names(cursor)
        assert {"accounts", "transactions"} <= set(tables), tables
        relations = connections["default"].introspection.get_relations(cursor, "transactions")
    assert relations["account_id"][:2] == ("id", "accounts"), relations


def prepared():
    for at in range(50):
        assert one("SELECT %s::int * 2", [at], "prepared") == (at * 2,)
    assert one("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%* 2'", [], "prepared") == (1,)


def transactions():
    def fails():
        with transaction.atomic():
            Account.objects.create(name="T", email="tx1")
            raise RuntimeError("roll back")

    failure(RuntimeError, fails)
    assert not Account.objects.filter(email="tx1").exists()
    with transaction.atomic():
        Account.objects.create(name="T", email="tx1")

        def again():
            with transaction.atomic():
                Account.objects.create(name="T", email="tx1")

        failure(IntegrityError, again)
        Account.objects.create(name="T", email="tx2")
    assert Account.objects.filter(email__startswith="tx").count() == 2


def pool():
    seen = []

    def ask(at):
        seen.append(one("SELECT %s::int, pg_backend_pid()", [at], "pooled"))
        connections["pooled"].close()

    threads = [threading.Thread(target=ask, args=[at]) for at in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connections["pooled"].close_pool()
    assert sorted(at for at, _ in seen) == list(range(40))
    assert len({pid for _, pid in seen}) <= 4


def cancellation():
    late = failure(OperationalError, lambda: one("SELECT pg_sleep(60)", None, "impatient"))
    assert late.__cause__.sqlstate == "57014"
    assert one("SELECT 1", None, "impatient") == (1,)


def errors():
    twice = failure(IntegrityError, lambda: Account.objects.create(name="Zoe", email="zoe@test.com"))
    assert twice.__cause__.diag.constraint_name == "accounts_email_key"

    def migrate():
        with connections["default"].schema_editor() as editor:
            editor.create_model(Account)

    ddl = failure(ProgrammingError, migrate)
    assert "DDL not allowed on tenant databases, use workspace mode" in str(ddl)
    assert one("SELECT 1") == (1,)
    wrong = failure(OperationalError, lambda: one("SELECT 1", None, "wrong"))
    assert f'password authentication failed for user "{USER}"' in str(wrong)
    failure(OperationalError, lambda: one("SELECT 1", None, "elsewhere"))


def reconnect():
    [first] = one(OWN_BACKEND)
    one("SELECT pg_terminate_backend(%s)", [first], "other")
    until(lambda: not one("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [first], "other"))
    # Between two requests Django lets go of what does not answer its health check.
    django.db.close_old_connections()
    assert one(OWN_BACKEND) != (first,)


report(
    django.get_version(),
    {
        "types": types,
        "models": orm,
        "reflection": reflection,
        "prepared statements": prepared,
        "transactions": transactions,
        "pool": pool,
        "cancellation": cancellation,
        "errors": errors,
        "LISTEN": skip("it has none; the driver beside it does"),
        "reconnect": reconnect,
    },
)
