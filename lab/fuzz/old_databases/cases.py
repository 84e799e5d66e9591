"""One case: an old database on disk with one thing wrong with it, made from a seed and a number alone."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lab.fuzz.case import random_of
from lab.fuzz.old_databases import draft, server
from lab.fuzz.old_databases.draft import Draft, Spoil, random_draft
from tests.harness.cluster import Databases
from tests.harness.importing import SECRET

Damage = Callable[[Path, random.Random], None]

_MAGIC = b"SQLite format 3\0"
_HEADER = 100


def cut(path: Path, source: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: source.randrange(len(data))])


def flipped(path: Path, source: random.Random) -> None:
    """Some bits of the pages; in one of four, of the header too."""
    data = bytearray(path.read_bytes())
    begin = source.choice((0, _HEADER, _HEADER, _HEADER))
    for _ in range(source.choice((1, 10, 100, 1_000))):
        data[source.randrange(begin, len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(data)


def pages_swapped(path: Path, source: random.Random) -> None:
    """Whole pages stand where others should: trees that lead into each other, or into themselves."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big") or 4_096
    size = 65_536 if size == 1 else size
    count = len(data) // size
    for _ in range(source.randint(1, 4)):
        target, source_page = source.randrange(1, count), source.randrange(1, count)
        data[target * size : (target + 1) * size] = data[source_page * size : (source_page + 1) * size]
    path.write_bytes(data)


def no_database(path: Path, source: random.Random) -> None:
    random_bytes = source.randbytes(source.choice((1, 99, 512, 5_000)))
    path.write_bytes(source.choice((b"", random_bytes, _MAGIC + random_bytes, _MAGIC, b"<!DOCTYPE html>\n" * 99)))


def a_directory(path: Path, source: random.Random) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path, source: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def nowhere(path: Path, source: random.Random) -> None:
    path.unlink()
    source.choice((lambda: None, lambda: path.symlink_to(path), lambda: path.symlink_to("/nowhere/at all")))()


def unreadable(path: Path, source: random.Random) -> None:
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a regular file whose beginning nobody can read, root no more than others


def a_strange_log(path: Path, source: random.Random) -> None:
    """A write-ahead log, or a journal to roll back, that is none, beside the file."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {source.choice(('WAL', 'DELETE'))}")
    for suffix in source.choice((("-wal",), ("-journal",), ("-wal", "-shm"))):
        log = source.choice((b"", b"\x37\x7f\x06\x82", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")) + source.randbytes(40_000)
        path.with_name(path.name + suffix).write_bytes(log)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes, and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


TARGET = "old database"


@dataclass(frozen=True)
class Shape:
    """What is wrong. `honest`: the honest rows have to arrive. `refused`: nothing may be taken."""

    spoil: Spoil = draft.nothing
    damage: Damage | None = None
    honest: bool = False
    refused: bool = False
    rare: bool = False
    """It takes seconds, by its nature."""
    beside: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext()
    """What goes on meanwhile."""
    url: Callable[[Path, random.Random], str] = lambda path, _: f"sqlite:///{path}"
    arguments: tuple[str, ...] = ("--renumber",)
    """Without these the ids of the accounts are taken."""
    other_types: float | None = None
    """On a server instead of in a file: of so many columns."""
    reader: Callable[[str, random.Random], AbstractContextManager[str]] = lambda url, _: nullcontext(url)
    """Who reads it there: the URL."""


def _odd_url(path: Path, source: random.Random) -> str:
    return source.choice(
        (
            "",
            "nonsense",
            "sqlite://",
            "sqlite:///:memory:",
            f"sqlite:///{path}?mode=rwc&password={SECRET}\0",
            f"sqlite:///{'x' * 5_000}",
            "sqlite:///a\0b",
            "sqlite:////dev/zero",
            "sqlite:////dev/stdin",
            f"sqlite+nothing:///{path}",
            f"postgresql://user:{SECRET}@127.0.0.1:1/old",
            f"postgresql://user@127.0.0.1:1/old?password={SECRET}",
            f"postgresql://user:{SECRET}@127.0.0.1:99999999/old",
            f"postgresql://user:{SECRET}@[::1:1/old",
            f"postgresql://127.0.0.1:1/old?nonsense={SECRET}",
            f"mysql://user:{SECRET}@127.0.0.1/old",
            f"x+y://user:{SECRET}@127.0.0.1/old",
            f"postgresql://user:{SECRET}\udc80@127.0.0.1:1/old",
        )
    )


SHAPES: Mapping[str, Shape] = {
    "values alone": Shape(honest=True),
    "optional columns missing": Shape(draft.optional_columns_missing, honest=True),
    "a required column missing": Shape(draft.required_column_missing, refused=True),
    "a column renamed": Shape(draft.column_renamed),
    "a table missing": Shape(draft.table_missing),
    "no table": Shape(draft.no_table, refused=True),
    "other types": Shape(draft.other_types, honest=True),
    "ids of other types": Shape(draft.ids_of_other_types),
    "ids twice": Shape(draft.ids_twice, honest=True),
    "rows without an id": Shape(draft.without_an_id, honest=True),
    "a view": Shape(draft.a_view, honest=True),
    "an endless view": Shape(draft.an_endless_view, rare=True),
    "computed texts": Shape(draft.computed_texts),
    "triggers": Shape(draft.triggers, honest=True),
    "more tables": Shape(draft.more_tables, honest=True),
    "without rowid": Shape(draft.without_rowid, honest=True),
    "no rows": Shape(draft.no_rows),
    "many columns": Shape(draft.many_columns, honest=True),
    "many rows": Shape(draft.many_rows, honest=True),
    "long texts": Shape(draft.long_texts, honest=True),
    "cycles": Shape(draft.cycles, honest=True),
    "another encoding": Shape(draft.another_encoding, honest=True),
    "another layout": Shape(draft.another_layout, honest=True),
    "in WAL mode": Shape(draft.in_wal_mode, honest=True),
    "cut": Shape(damage=cut),
    "bits flipped": Shape(damage=flipped),
    "pages swapped": Shape(damage=pages_swapped),
    "many rows, bits flipped": Shape(draft.many_rows, flipped),
    "no database": Shape(damage=no_database, refused=True),
    "a directory": Shape(damage=a_directory, refused=True),
    "a FIFO": Shape(damage=a_fifo, refused=True),
    "nowhere": Shape(damage=nowhere, refused=True),
    "unreadable": Shape(damage=unreadable, refused=True),
    "a strange log": Shape(damage=a_strange_log),
    "locked": Shape(beside=locked, refused=True, rare=True),
    "an odd URL": Shape(url=_odd_url, refused=True),
    "taken ids": Shape(arguments=(), refused=True),
    "on a server": Shape(honest=True, other_types=0.0),
    "on a server, other types": Shape(other_types=0.3),
    "on a server, ids twice": Shape(draft.ids_twice, honest=True, other_types=0.0),
    "on a server, many rows": Shape(draft.many_rows, honest=True, other_types=0.0),
    "on a server, a view": Shape(draft.a_view, honest=True, other_types=0.0),
    "on a server, an endless view": Shape(draft.an_endless_view, other_types=0.0, rare=True),
    "on a server, a column renamed": Shape(draft.column_renamed, other_types=0.0),
    "on a server, no right to read": Shape(other_types=0.0, reader=server.without_rights, refused=True),
}
RARELY = 10
"""Every so many rounds a rare shape has its turn."""


@dataclass(frozen=True)
class Case:
    seed: int
    number: int
    shape: str
    url: str
    arguments: tuple[str, ...]
    dry_run_first: bool

    @property
    def demands(self) -> Shape:
        return SHAPES[self.shape]


def shape_of(number: int) -> str:
    """The shapes take turns; rare ones have one turn in some."""
    turn, place = divmod(number, len(SHAPES))
    name = list(SHAPES)[place]
    return name if not SHAPES[name].rare or turn % RARELY == 0 else "values alone"


@contextmanager
def laid_out(seed: int, number: int, folder: Path, databases: Databases) -> Iterator[Case]:
    """The case, with its database in the folder, which has to be empty, or on the server."""
    name = shape_of(number)
    shape, source = SHAPES[name], random_of(TARGET, seed, number)
    old_database = random_draft(source)
    shape.spoil(old_database, source)
    with (
        _in_file(shape, old_database, folder, source)
        if shape.other_types is None
        else _on_server(shape, old_database, databases, source) as url
    ):
        extras = source.choice(((), ("--map-account", "1=1"), ("--source", "the old one")))
        soon = ("--source-timeout", "2")  # what never ends is given up then
        arguments = (*soon, *shape.arguments, *(extras if shape.arguments else ()))
        yield Case(seed, number, name, url, arguments, source.random() < 0.3)


@contextmanager
def _in_file(shape: Shape, old_database: Draft, folder: Path, source: random.Random) -> Iterator[str]:
    path = folder / "old.db"
    old_database.write(path)
    if shape.damage is not None:
        shape.damage(path, source)
    with shape.beside(path):
        yield shape.url(path, source)


@contextmanager
def _on_server(shape: Shape, old_database: Draft, databases: Databases, source: random.Random) -> Iterator[str]:
    with databases.lent() as url:
        server.put(old_database, url, source, shape.other_types or 0.0)
        with shape.reader(url, source) as read_by:
            yield read_by
