"""Django's migrations against the workspace: makemigrations and migrate, its own applications included. Argument: the step."""
import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from report import CA, HOST, PORT, USER

step = sys.argv[1]
models = """
from django.db import models

class Account(models.Model):
    name = models.CharField(max_length=255)
    email = models.CharField(max_length=255, unique=True)
    balance = models.DecimalField(max_digits=15, decimal_places=2, default=0)
    PLAN

    class Meta:
        db_table = "accounts"

class Transaction(models.Model):
    account = models.ForeignKey(Account, models.CASCADE)
    amount = models.DecimalField(max_digits=15, decimal_places=2)

    class Meta:
        db_table = "transactions"
"""
plan = 'plan = models.CharField(max_length=20, default="free", db_index=True)' if step == "2" else ""
Path("shop/migrations").mkdir(parents=True, exist_ok=True)
for package in ("shop", "shop/migrations"):
    Path(package, "__init__.py").touch()
Path("shop/models.py").write_text(models.replace("PLAN", plan))
sys.path.insert(0, ".")

settings.configure(
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "shop"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": HOST,
            "PORT": PORT,
            "NAME": os.environ["TDB_WORKSPACE_DATABASE"],
            "USER": USER,
            "PASSWORD": os.environ["TDB_WORKSPACE_PASSWORD"],
            "OPTIONS": {"sslmode": "verify-full", "sslrootcert": CA},
        }
    },
)
django.setup()
call_command("makemigrations", "shop", name=f"step_{step}")
call_command("migrate")
call_command("migrate", check_unapplied=True)
print(f"version {django.get_version()}")
