"""`contentgen-scheduler migrate`: the schema alone, by a role with more rights than a scheduler."""

from __future__ import annotations

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from contentgen.service.settings import EXIT_STATUS, SettingsError, UsageError
from scheduler_svc.admin.databases import Databases, RestoredCounts, described, prepare_restored
from scheduler_svc.config import Settings, configure_logging, settings_of, settings_parser
from scheduler_svc.database.connections import check_sessions
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError
from scheduler_svc.schema.compatibility import UnsupportedSchema
from scheduler_svc.schema.migrate import MigrationStuck, migrate, revisions

DONE = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130
_SETTINGS = ("data_dir", "pg_bindir", "log_level", "log_format")
_DESCRIPTION = """\
Migrates the database to the schema of this version, and ends. A scheduler does that when it starts, unless its role may
not: then run this first, as the role that owns the tables, and the schedulers with rights on rows only
(docs/deployment.md has the GRANTs). Schedulers of this version and of the one before serve meanwhile. It may be run at
any time, and by several at once.

  DATABASE_URL=postgresql://owner@host/name contentgen-scheduler migrate

Use --recovered for a database that PostgreSQL's own means have brought back to a moment in the past (point-in-time
recovery), before any scheduler starts on it: numbers that were assigned after that moment are skipped, and workers
get a lease time to come back. `restore` does this by itself.

Exit status: 0 the database has the schema, 1 it failed midway (run it again: it resumes), 2 wrong usage, 78 refused: no
database, missing rights (it names the GRANTs), or a schema that does not support this version.
"""


def migrate_command(arguments: Sequence[str]) -> int:
    try:
        _run(arguments)
    except UsageError as error:
        return _fail(error, USAGE)
    except (SettingsError, PostgresError, UnsupportedSchema) as error:
        return _fail(error, EXIT_STATUS)
    except MigrationStuck as error:
        return _fail(error, FAILED)
    except sa.exc.DBAPIError as error:
        return _fail(f"the database of the schedulers can't be used: {str(error.orig).strip()}", FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted; what was applied stays, and the next run resumes", INTERRUPTED)
    return DONE


def _run(arguments: Sequence[str]) -> None:
    parser = settings_parser("contentgen-scheduler migrate", _DESCRIPTION, _SETTINGS)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--recovered", action="store_true", help="also prepare a database that was recovered to a time")
    asked = vars(parser.parse_args(arguments))
    recovered = asked.pop("recovered", False)
    settings = settings_of(asked)
    configure_logging(settings)
    with _server(settings) as url:
        if recovered:
            _check_unused(url)
        applied = migrate(url)
        counts = _prepare(url) if recovered else None
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


def _prepare(url: str) -> RestoredCounts:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        return prepare_restored(engine)
    finally:
        engine.dispose()


@contextmanager
def _server(settings: Settings) -> Iterator[str]:
    if settings.database_url:
        check_sessions(settings.database_url)
        yield settings.database_url
        return
    with EmbeddedPostgres(settings.data_dir / "postgres", bindir=settings.pg_bindir) as postgres:
        yield postgres.url()


def _fail(problem: object, status: int) -> int:
    print(problem, file=sys.stderr)
    return status
