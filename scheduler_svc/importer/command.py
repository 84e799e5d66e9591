"""The command `import`. The top of `scheduler_svc.importer`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from contentgen.service.settings import EXIT_STATUS, SettingsError
from scheduler_svc.application.imports.run import Import
from scheduler_svc.application.signals import CommitSignals
from scheduler_svc.config import Settings
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.old_rows import CannotImport
from scheduler_svc.importer.arguments import ImportArguments, read_arguments
from scheduler_svc.importer.progress import ImportProgress
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError
from scheduler_svc.store.engine.notifications import PgNotifier
from scheduler_svc.store.engine.timeouts import ALONE_TIMEOUT, Timeouts
from scheduler_svc.store.engine.transactions import Database, make_engine
from scheduler_svc.store.imports import hide_what_is_imported, one_at_a_time
from scheduler_svc.store.old_application.source import name_of, read_url
from scheduler_svc.store.old_application.tables import open_old_application
from scheduler_svc.store.schema.compatibility import UnsupportedSchema
from scheduler_svc.store.schema.migrate import MigrationStuck, upgrade
from scheduler_svc.store.schema.privileges import check_may_import

ALL_TAKEN = 0
FAILED = 1
LEFT_OUT = 3
INTERRUPTED = 130
_AGAIN = "What was imported is kept: run the same command again to resume."


def import_command(arguments: Sequence[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names are Chinese too, whatever the terminal can show
    try:
        return _import(read_arguments(arguments))
    except (SettingsError, CannotImport, PostgresError, UnsupportedSchema) as error:
        print(error, file=sys.stderr)
        return EXIT_STATUS
    except (StoreUnavailable, MigrationStuck, sa.exc.OperationalError) as error:
        print(f"the database of the schedulers can't be used: {_first_line(error)}\n{_AGAIN}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"interrupted. {_AGAIN}", file=sys.stderr)
        return INTERRUPTED


def _import(given: ImportArguments) -> int:
    url = read_url(given.url)
    report = ImportProgress(sys.stdout, sys.stderr)
    with (
        open_old_application(url, given.source_timeout) as old,
        _database(given.settings, dry_run=given.dry_run) as database,
    ):
        importing = Import(database, report)
        all_taken = importing.run(old, given.source or name_of(url), given.choices, dry_run=given.dry_run)
    report.sums(dry_run=given.dry_run)
    return ALL_TAKEN if all_taken else LEFT_OUT


@contextmanager
def _database(settings: Settings, *, dry_run: bool) -> Iterator[Database]:
    """The schedulers' database, locked against other imports; starts an embedded one, or shares it with its owner."""
    with _server(settings) as url:
        engine = make_engine(url, 1, timeouts=Timeouts(settings.lock_timeout, ALONE_TIMEOUT))
        notifier = PgNotifier(engine)
        alone = sa.create_engine(url, poolclass=sa.NullPool)
        try:
            upgrade(alone)
            with alone.connect() as connection:
                check_may_import(connection)
            with one_at_a_time(alone):
                if dry_run:
                    yield Database(hide_what_is_imported(engine), lambda _signals: None, lambda _: None)
                else:
                    yield Database(engine, lambda signals: _send_hints(notifier, signals), lambda _: None)
        finally:
            notifier.close()
            engine.dispose()
            alone.dispose()


def _send_hints(notifier: PgNotifier, signals: CommitSignals) -> None:
    """Sends hints about the commit to the schedulers, which poll anyway."""
    if signals.for_others:
        with suppress(StoreUnavailable):
            notifier.send(signals.payloads("import"))


@contextmanager
def _server(settings: Settings) -> Iterator[str]:
    if settings.database_url:
        yield settings.database_url
        return
    with EmbeddedPostgres(settings.data_dir / "postgres", bindir=settings.pg_bindir) as postgres:
        yield postgres.url()


def _first_line(error: Exception) -> str:
    said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return str(said).strip().partition("\n")[0]
