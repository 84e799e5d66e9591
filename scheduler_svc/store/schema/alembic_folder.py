"""A folder of migrations, as Alembic reads and runs it. Part of `store`."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory


def apply(connection: sa.Connection, migrations: Path, revision: str) -> None:
    """Applies the migrations up to this one, by the folder's `env.py`."""
    config = _config(migrations)
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def scripts(migrations: Path) -> list[Script]:
    """The migrations of a folder, oldest first."""
    return list(ScriptDirectory.from_config(_config(migrations)).walk_revisions())[::-1]


def _config(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    return config
