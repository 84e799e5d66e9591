"""Brings a database to the newest schema, one replica at a time."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from scheduler_svc.store.connecting import defaults

_LOCK = 0x636F6E74656E7467  # "contentg"


def upgrade(engine: sa.Engine) -> None:
    """Runs the missing migrations under an advisory lock; replicas that start together wait for one another."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def migrate(url: str) -> None:
    """The same on a connection of its own."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=defaults(sa.make_url(url)))
    try:
        upgrade(engine)
    finally:
        engine.dispose()
