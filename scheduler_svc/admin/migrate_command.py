"""`contentgen-scheduler migrate`: the schema alone, by a role with more rights than a scheduler."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence

import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.admin.commands import exit_status, serving_database
from scheduler_svc.admin.databases import Databases, described, prepare_restored
from scheduler_svc.config import configure_logging, settings_of, settings_parser
from scheduler_svc.database.connections import check_sessions
from scheduler_svc.schema.compatibility import UnsupportedSchema
from scheduler_svc.schema.migrate import MigrationStuck, migrate, revisions

_SETTINGS = ("cell", "data_dir", "pg_bindir", "log_level", "log_format")
_DESCRIPTION = """\
Migrates the database to the schema of this version, and ends. A scheduler does that when it starts, unless its role may
not: then run this first, as the role that owns the tables, and the schedulers with rights on rows only
(docs/how-to/database-rights.md has the GRANTs). Schedulers of this version and of the one before serve meanwhile. It
may be run at any time, and by several at once.

  DATABASE_URL=postgresql://owner@host/name contentgen-scheduler migrate

Use --recovered for a database that PostgreSQL's own means have brought back to a moment in the past (point-in-time
recovery), before any scheduler starts on it: numbers that were assigned after that moment are skipped, and workers
get a lease time to come back. `restore` does this by itself.

Exit status: 0 the database has the schema, 1 it failed midway (run it again: it resumes), 2 wrong usage, 78 refused: no
database, missing rights (it names the GRANTs), or a schema that does not support this version.
"""


def migrate_command(arguments: Sequence[str]) -> int:
    return exit_status(
        lambda: _run(arguments),
        refusals=(UnsupportedSchema,),
        failures=(MigrationStuck,),
        interrupted="what was applied stays, and the next run resumes",
    )


def _run(arguments: Sequence[str]) -> None:
    parser = settings_parser("contentgen-scheduler migrate", _DESCRIPTION, _SETTINGS)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--recovered", action="store_true", help="also prepare a database that was recovered to a time")
    asked = vars(parser.parse_args(arguments))
    recovered = asked.pop("recovered", False)
    settings = settings_of(asked)
    configure_logging(settings)
    with serving_database(settings) as url:
        if settings.database_url:
            check_sessions(url)
        if recovered:
            _check_unused(url)
        applied = migrate(url, cell=settings.cell)
        counts = prepare_restored(sa.create_engine(url, poolclass=sa.NullPool)) if recovered else None
    newest = revisions()[-1]
    print(f"schema {newest}: " + (f"applied {', '.join(applied)}" if applied else "nothing to do"))
    if counts:
        print(f"ready for schedulers: {counts.accounts} accounts, {counts.tasks} tasks, {counts.running} running")


def _check_unused(url: str) -> None:
    databases = Databases(url)
    with databases.locked() as alone:
        if not alone or (sessions := databases.lasting_sessions()):
            users = described(sessions) if alone else "a restore on this server"
            raise SettingsError([f"the database is in use: stop every scheduler, close all other sessions:\n{users}"])
