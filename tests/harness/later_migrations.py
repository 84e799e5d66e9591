"""Migrations of later versions: this version's folder with more files."""

from __future__ import annotations

import shutil
from pathlib import Path

from scheduler_svc.schema.migrate import MIGRATIONS, revisions

NEWEST = revisions()[-1]
"""The newest revision of this version."""

_FILE = """\
from alembic import op
from scheduler_svc.schema.migrations.online import build_index, widen_check

revision = "{revision}"
down_revision = "{before}"
oldest_code = "{oldest_code}"


def upgrade() -> None:
    {body}
"""


def execute(sql: str) -> str:
    """The body of a migration that runs some SQL."""
    return f"op.execute({sql!r})"


class LaterMigrations:
    """This version's migrations, copied into `folder`, and those that are added to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "migrations"
        shutil.copytree(MIGRATIONS, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._newest = NEWEST

    def add(self, revision: str, body: str, *, oldest_code: str = NEWEST) -> None:
        """Adds a migration after the existing ones."""
        text = _FILE.format(revision=revision, before=self._newest, oldest_code=oldest_code, body=body)
        (self.folder / "versions" / f"{revision}_later.py").write_text(text)
        self._newest = revision
