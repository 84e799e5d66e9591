"""`contentgen-scheduler import URL`: the old application's data, into the database that the schedulers use.

It puts the source, the database and the terminal together. Rows that were left out and the sums are printed to stdout,
the progress to stderr.
"""

from __future__ import annotations

import io
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from contentgen.service.settings import EXIT_STATUS, SettingsError
from old_application.accounts import AccountChoices
from old_application.old_rows import CannotImport
from old_application.old_source import name_of, open_source, read_url
from old_application.old_tables import OldDatabase
from old_application.progress import ImportProgress
from old_application.run import Import
from old_application.sql import ImportDatabase, hide_what_is_imported, one_at_a_time
from scheduler_svc.admin.commands import DONE, FAILED, INTERRUPTED, fail, serving_database
from scheduler_svc.config import Settings, settings_of, settings_parser
from scheduler_svc.database.connections import ALONE_TIMEOUT, Timeouts
from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.postgres import PostgresError
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.schema.compatibility import UnsupportedSchema
from scheduler_svc.schema.migrate import MigrationStuck, upgrade
from scheduler_svc.schema.privileges import check_may_import
from scheduler_svc.transactions import Database, make_engine

_SETTINGS = ("data_dir", "pg_bindir")
_DAY = 86_400
_MAX_NAME = 500
_PAIR = re.compile(r"(-?\d{1,18})=([1-9]\d{0,17})")

_DESCRIPTION = """Imports accounts, tasks, contents and the publish pool from the old application's database, which it
only reads. It works beside running schedulers, on the database that they use. Tasks that had not ended become pending
and run. Stop the old application first. Run the same command again to resume an interrupted import: it imports no
row twice. It names rows that can't be imported, one a line, and continues. Exit status: 0 all was imported, 3 rows were
left out, 78 the source can't be read, or ids of accounts are taken."""


def _parser() -> ArgumentParser:
    parser = settings_parser("contentgen-scheduler import", _DESCRIPTION, _SETTINGS)
    parser.add_argument(
        "url",
        metavar="URL",
        help="SQLAlchemy URL of the old database: sqlite:////srv/old/app.db, postgresql://user@host/name. Set a"
        " password by PGPASSWORD or a password file, since everyone can read a command line",
    )
    parser.add_argument("--dry-run", action="store_true", default=False, help="only report what would be imported")
    parser.add_argument(
        "--map-account",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="import account OLD of the source as account NEW, which is created if it is missing; may be repeated",
    )
    parser.add_argument(
        "--renumber",
        action="store_true",
        default=False,
        help="give new ids to accounts whose ids are taken here; the others keep theirs",
    )
    parser.add_argument(
        "--source",
        default=None,
        metavar="NAME",
        help="the name by which the source is recognized at another URL. Default: the URL without user and password",
    )
    parser.add_argument(
        "--source-timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="time-out of a statement at the source, 1 to 86400 (default: %(default)g)",
    )
    return parser


def _name(source: str | None) -> str | None:
    if source is not None and (not source.isprintable() or not 1 <= len(source) <= _MAX_NAME):
        raise SettingsError([f"--source={source[:40]!r}: must be 1 to {_MAX_NAME} printable characters"])
    return source


def _within_bounds(seconds: float) -> float:
    if not 1 <= seconds <= _DAY:
        raise SettingsError([f"--source-timeout={seconds:g}: must be 1 to {_DAY} seconds"])
    return seconds


def _pairs(texts: Iterable[str]) -> dict[int, int]:
    pairs: dict[int, int] = {}
    for text in texts:
        match = _PAIR.fullmatch(text)
        if match is None:
            raise SettingsError([f"--map-account={text}: must be OLD=NEW, two ids such as 1=7"])
        if pairs.setdefault(int(match[1]), int(match[2])) != int(match[2]):
            raise SettingsError([f"--map-account={text}: account {match[1]} is mapped to {pairs[int(match[1])]} too"])
    return pairs


LEFT_OUT = 3
_AGAIN = "What was imported is kept: run the same command again to resume."


def import_command(arguments: Sequence[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names are Chinese too, whatever the terminal can show
    try:
        return _import(arguments)
    except (SettingsError, CannotImport, PostgresError, UnsupportedSchema) as error:
        return fail(error, EXIT_STATUS)
    except (StoreUnavailable, MigrationStuck, sa.exc.OperationalError) as error:
        return fail(f"the database of the schedulers can't be used: {_first_line(error)}\n{_AGAIN}", FAILED)
    except KeyboardInterrupt:
        return fail(f"interrupted. {_AGAIN}", INTERRUPTED)


def _import(arguments: Sequence[str]) -> int:
    """Raises SettingsError for wrong arguments, and SystemExit after `--help`."""
    flags = vars(_parser().parse_args(arguments))
    choices = AccountChoices(flags.pop("renumber"), _pairs(flags.pop("map_account")))
    text, dry_run = flags.pop("url"), flags.pop("dry_run")
    timeout = _within_bounds(flags.pop("source_timeout"))
    source = _name(flags.pop("source"))
    settings = settings_of(flags)
    url = read_url(text)
    progress = ImportProgress(sys.stdout, sys.stderr)
    with open_source(url, timeout) as opened:
        old = OldDatabase(opened)
        with _database(settings, dry_run=dry_run) as database:
            all_taken = Import(database, progress).run(old, source or name_of(url), choices, dry_run=dry_run)
    progress.sums(dry_run=dry_run)
    return DONE if all_taken else LEFT_OUT


@contextmanager
def _database(settings: Settings, *, dry_run: bool) -> Iterator[ImportDatabase]:
    """The schedulers' database, locked against other imports."""
    with serving_database(settings) as url:
        engine = make_engine(url, 1, timeouts=Timeouts(settings.lock_timeout, ALONE_TIMEOUT))
        notifier = PgNotifier(engine)
        alone = sa.create_engine(url, poolclass=sa.NullPool)
        try:
            upgrade(alone)
            with alone.connect() as connection:
                check_may_import(connection)
            with one_at_a_time(alone):
                if dry_run:
                    database = Database(hide_what_is_imported(engine), lambda _signals: None, lambda _: None)
                else:
                    database = Database(engine, lambda signals: _send_hints(notifier, signals), lambda _: None)
                yield ImportDatabase(database)
        finally:
            notifier.close()
            engine.dispose()


def _send_hints(notifier: PgNotifier, signals: CommitSignals) -> None:
    """Sends hints about the commit to the schedulers, which poll anyway."""
    if signals.for_others:
        with suppress(StoreUnavailable):
            notifier.send(signals.payloads("import"))


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return str(cause).strip().partition("\n")[0]
