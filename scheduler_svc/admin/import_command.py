"""`contentgen-scheduler import URL`: the old application's data, into the database that the schedulers use.

It puts the source, the database and the terminal together. Rows that were left out and the sums are printed to stdout,
the progress to stderr.
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

import sqlalchemy as sa

from contentgen.service.settings import EXIT_STATUS, SettingsError
from scheduler_svc.config import Settings, settings_of, settings_parser
from scheduler_svc.database.connections import ALONE_TIMEOUT, Timeouts
from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.old_rows import CannotImport, RowKind
from scheduler_svc.importing.accounts import AccountChoices
from scheduler_svc.importing.old_source import name_of, read_url
from scheduler_svc.importing.old_tables import open_old_application
from scheduler_svc.importing.run import Import, ImportTally
from scheduler_svc.importing.sql import hide_what_is_imported, one_at_a_time
from scheduler_svc.live_line import LiveLine
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError
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


@dataclass(frozen=True, slots=True)
class ImportArguments:
    """The arguments of the command. `source` None: the URL without user and password."""

    url: str
    source: str | None
    choices: AccountChoices
    dry_run: bool
    source_timeout: float
    settings: Settings


def read_arguments(arguments: Sequence[str]) -> ImportArguments:
    """Raises SettingsError for wrong arguments, and SystemExit after `--help`."""
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
    flags = vars(parser.parse_args(arguments))
    choices = AccountChoices(flags.pop("renumber"), _pairs(flags.pop("map_account")))
    url, source, dry_run = flags.pop("url"), flags.pop("source"), flags.pop("dry_run")
    timeout = _within_bounds(flags.pop("source_timeout"))
    return ImportArguments(url, _name(source), choices, dry_run, timeout, settings_of(flags))


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


_BAR = 30
_PLURALS = {
    RowKind.ACCOUNT: "accounts",
    RowKind.TASK: "tasks",
    RowKind.CONTENT: "contents",
    RowKind.POOL_ENTRY: "pool entries",
}


class ImportProgress:
    """Implements `importing.run.ImportListener`. Shows a bar on a terminal, else a line from time to time."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._bar = _Bar(err)
        self._tallies: dict[RowKind, ImportTally] = {}

    def begins(self, kind: RowKind, total: int) -> None:
        self._bar.begin(_PLURALS[kind], total)

    def moved(self, rows: int) -> None:
        self._bar.move(rows)

    def left_out(self, kind: RowKind, old_id: int, reason: str) -> None:
        self._bar.clear()
        print(f"left out: {kind.label} {old_id}: {reason}", file=self._out)

    def without_id(self, kind: RowKind, rows: int) -> None:
        self._bar.clear()
        reason = "their ids are not whole numbers of at most 18 digits"
        print(f"left out: {rows:,} {_PLURALS[kind]}: {reason}", file=self._out)

    def ends(self, kind: RowKind, tally: ImportTally) -> None:
        self._bar.clear()
        self._tallies[kind] = tally

    def sums(self, *, dry_run: bool) -> None:
        """Prints the table at the end."""
        verb = "to take" if dry_run else "taken"
        print(f"{'':<14}{verb:>12}{'before':>12}{'left out':>12}", file=self._out)
        for kind, tally in self._tallies.items():
            numbers = f"{tally.taken:>12,}{tally.before:>12,}{tally.left_out:>12,}"
            print(f"{_PLURALS[kind]:<14}{numbers}", file=self._out)
        if dry_run:
            print("Nothing was written.", file=self._out)


class _Bar:
    """A bar that shows how many of the rows are done, and how fast."""

    def __init__(self, err: TextIO) -> None:
        self._line = LiveLine(err)
        self._name = ""
        self._total = self._done = 0
        self._begun = 0.0

    def begin(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._begun = time.monotonic()
        self._line.begin()

    def move(self, rows: int) -> None:
        self._done += rows
        seconds = time.monotonic() - self._begun
        share = min(1.0, self._done / self._total) if self._total else 1.0
        rate = self._done / seconds if seconds > 0 else 0.0
        bar = ("#" * round(share * _BAR)).ljust(_BAR, ".")
        text = f"{self._name} {self._done:,} of {self._total:,} ({share:.0%}, {rate:,.0f}/s)"
        self._line.show(text, bar=f"[{bar}] ")

    def clear(self) -> None:
        self._line.clear()


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


def _import(arguments: ImportArguments) -> int:
    url = read_url(arguments.url)
    report = ImportProgress(sys.stdout, sys.stderr)
    with (
        open_old_application(url, arguments.source_timeout) as old,
        _database(arguments.settings, dry_run=arguments.dry_run) as database,
    ):
        importing = Import(database, report)
        all_taken = importing.run(old, arguments.source or name_of(url), arguments.choices, dry_run=arguments.dry_run)
    report.sums(dry_run=arguments.dry_run)
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
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return str(cause).strip().partition("\n")[0]
