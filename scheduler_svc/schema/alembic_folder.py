"""A folder of migrations, as Alembic reads and runs it."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory


class MigrationFolder:
    """Reads its migrations once, however many are applied."""

    def __init__(self, migrations: Path) -> None:
        self._config = Config()
        self._config.set_main_option("script_location", str(migrations))
        self._config.set_main_option("path_separator", "os")
        self._directory = ScriptDirectory.from_config(self._config)

    def apply(self, connection: sa.Connection, revision: str) -> None:
        """Applies the migrations up to this one, by the folder's `env.py`."""
        self._config.attributes["connection"] = connection
        steps = self._directory._upgrade_revs  # noqa: SLF001 - `alembic.command.upgrade` would read the folder again
        with EnvironmentContext(
            self._config, self._directory, fn=lambda present, _: steps(revision, present), destination_rev=revision
        ):
            self._directory.run_env()

    def scripts(self) -> list[Script]:
        return list(self._directory.walk_revisions())[::-1]
