"""The arguments of `import`. Part of `scheduler_svc.importer`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contentgen.service.settings import SettingsError
from scheduler_svc.application.imports.accounts import AccountChoices
from scheduler_svc.config import Settings, settings_of, settings_parser

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
