"""Alembic against the workspace: a revision made by comparing the models with the database, and applied. Argument: the step."""
import os
import sys
from pathlib import Path

import alembic
from alembic import command
from alembic.config import Config
from report import CA, HOST, PORT, USER

step = sys.argv[1]
url = f"postgresql+psycopg://{USER}:{os.environ['TDB_WORKSPACE_PASSWORD']}@{HOST}:{PORT}/{os.environ['TDB_WORKSPACE_DATABASE']}?sslmode=verify-full&sslrootcert={CA}"

models = """
from sqlalchemy import Column, DateTime, ForeignKey, Integer, MetaData, Numeric, String, Table, func

metadata = MetaData()
Table(
    "accounts", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("email", String(255), unique=True, nullable=False),
    Column("balance", Numeric(15, 2), server_default="0"),
    PLAN
)
Table(
    "transactions", metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("amount", Numeric(15, 2), nullable=False),
    Column("created_at", DateTime, server_default=func.now()),
)
"""
plan = 'Column("plan", String(20), nullable=False, server_default="free"),' if step == "2" else ""
Path("models.py").write_text(models.replace("PLAN", plan))
sys.path.insert(0, ".")

if not Path("migrations").exists():
    command.init(Config("alembic.ini"), "migrations")
    env = Path("migrations/env.py")
    env.write_text(env.read_text().replace("target_metadata = None", "from models import metadata as target_metadata"))
config = Config("alembic.ini")
config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
command.revision(config, f"step {step}", autogenerate=True)
command.upgrade(config, "head")
command.check(config)  # nothing is left to do: what it reads back is what the models say
print(f"version {alembic.__version__}")
