"""What `import` may be told. Part of `scheduler_svc.importer`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scheduler_svc.application.imports.accounts import AccountChoices
from scheduler_svc.config import Settings, SettingsError, settings_of, settings_parser

_SETTINGS = ("data_dir", "pg_bindir")
_DAY = 86_400
_MAX_OF_A_NAME = 500
_PAIR = re.compile(r"(-?\d{1,18})=([1-9]\d{0,17})")

_DESCRIPTION = """Takes accounts, tasks, contents and the publish pool over from the old application's database, which
is only read. It works beside running schedulers and on the database that they use. Tasks that had not ended become
pending and run. Stop the old application first. The same command again goes on where it was cut off, and takes nothing
twice. Rows that can't be taken are named, one a line, and stop nothing. Exit status: 0 all was taken, 3 rows were left
out, 78 the source can't be read, or ids of accounts are taken."""


@dataclass(frozen=True, slots=True)
class ImportArguments:
    """One call of the command. `source` None: what its URL says without user and password."""

    url: str
    source: str | None
    choices: AccountChoices
    dry_run: bool
    source_timeout: float
    settings: Settings


def read_arguments(arguments: Sequence[str]) -> ImportArguments:
    """Raises SettingsError naming what is wrong, and SystemExit once `--help` was answered."""
    parser = settings_parser("contentgen-scheduler import", _DESCRIPTION, _SETTINGS)
    parser.add_argument(
        "url",
        metavar="URL",
        help="SQLAlchemy URL of the old database: sqlite:////srv/old/app.db, postgresql://user@host/name. A password is"
        " better given by PGPASSWORD or a password file, since a command line is for everyone to read",
    )
    parser.add_argument("--dry-run", action="store_true", default=False, help="only say what would be done")
    parser.add_argument(
        "--map-account",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="account OLD of the source is account NEW here, which is made where there is none; may be repeated",
    )
    parser.add_argument(
        "--renumber",
        action="store_true",
        default=False,
        help="give accounts whose ids are taken here new ones; the others keep theirs",
    )
    parser.add_argument(
        "--source",
        default=None,
        metavar="NAME",
        help="what the source is remembered as, so that it is known again at another URL. Default: made of the URL,"
        " without user and password",
    )
    parser.add_argument(
        "--source-timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="what one statement may take at the source, 1 to 86400 (default: %(default)g)",
    )
    flags = vars(parser.parse_args(arguments))
    choices = AccountChoices(flags.pop("renumber"), _pairs(flags.pop("map_account")))
    url, source, dry_run = flags.pop("url"), flags.pop("source"), flags.pop("dry_run")
    timeout = _within_bounds(flags.pop("source_timeout"))
    return ImportArguments(url, _name(source), choices, dry_run, timeout, settings_of(flags))


def _name(source: str | None) -> str | None:
    if source is not None and (not source.isprintable() or not 1 <= len(source) <= _MAX_OF_A_NAME):
        raise SettingsError([f"--source={source[:40]!r}: must be 1 to {_MAX_OF_A_NAME} printable characters"])
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
