"""One case: an old database on disk with one thing wrong with it, made from a seed and a number alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lab.fuzz.case import random_of
from lab.fuzz.old_databases import damage, server, shapes
from lab.fuzz.old_databases.damage import Damage
from lab.fuzz.old_databases.draft import Draft, draft
from lab.fuzz.old_databases.shapes import Spoil
from tests.harness.cluster import Databases
from tests.harness.importing import SECRET

TARGET = "old database"


@dataclass(frozen=True)
class Shape:
    """What is wrong. `honest`: the honest rows have to arrive. `refused`: nothing may be taken."""

    spoil: Spoil = shapes.nothing
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
    "optional columns missing": Shape(shapes.optional_columns_missing, honest=True),
    "a required column missing": Shape(shapes.required_column_missing, refused=True),
    "a column renamed": Shape(shapes.column_renamed),
    "a table missing": Shape(shapes.table_missing),
    "no table": Shape(shapes.no_table, refused=True),
    "other types": Shape(shapes.other_types, honest=True),
    "ids of other types": Shape(shapes.ids_of_other_types),
    "ids twice": Shape(shapes.ids_twice, honest=True),
    "rows without an id": Shape(shapes.without_an_id, honest=True),
    "a view": Shape(shapes.a_view, honest=True),
    "an endless view": Shape(shapes.an_endless_view, rare=True),
    "computed texts": Shape(shapes.computed_texts),
    "triggers": Shape(shapes.triggers, honest=True),
    "more tables": Shape(shapes.more_tables, honest=True),
    "without rowid": Shape(shapes.without_rowid, honest=True),
    "no rows": Shape(shapes.no_rows),
    "many columns": Shape(shapes.many_columns, honest=True),
    "many rows": Shape(shapes.many_rows, honest=True),
    "long texts": Shape(shapes.long_texts, honest=True),
    "cycles": Shape(shapes.cycles, honest=True),
    "another encoding": Shape(shapes.another_encoding, honest=True),
    "another layout": Shape(shapes.another_layout, honest=True),
    "in WAL mode": Shape(shapes.in_wal_mode, honest=True),
    "cut": Shape(damage=damage.cut),
    "bits flipped": Shape(damage=damage.flipped),
    "pages swapped": Shape(damage=damage.pages_swapped),
    "many rows, bits flipped": Shape(shapes.many_rows, damage.flipped),
    "no database": Shape(damage=damage.no_database, refused=True),
    "a directory": Shape(damage=damage.a_directory, refused=True),
    "a FIFO": Shape(damage=damage.a_fifo, refused=True),
    "nowhere": Shape(damage=damage.nowhere, refused=True),
    "unreadable": Shape(damage=damage.unreadable, refused=True),
    "a strange log": Shape(damage=damage.a_strange_log),
    "locked": Shape(beside=damage.locked, refused=True, rare=True),
    "an odd URL": Shape(url=_odd_url, refused=True),
    "taken ids": Shape(arguments=(), refused=True),
    "on a server": Shape(honest=True, other_types=0.0),
    "on a server, other types": Shape(other_types=0.3),
    "on a server, ids twice": Shape(shapes.ids_twice, honest=True, other_types=0.0),
    "on a server, many rows": Shape(shapes.many_rows, honest=True, other_types=0.0),
    "on a server, a view": Shape(shapes.a_view, honest=True, other_types=0.0),
    "on a server, an endless view": Shape(shapes.an_endless_view, other_types=0.0, rare=True),
    "on a server, a column renamed": Shape(shapes.column_renamed, other_types=0.0),
    "on a server, no right to read": Shape(other_types=0.0, reader=server.without_rights, refused=True),
}
_ALWAYS = ("--source-timeout", "2")
"""What never ends is given up soon."""
RARELY = 10
"""Every so many rounds a rare shape has its turn."""


@dataclass(frozen=True)
class Case:
    """One database and how it is imported."""

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
    old_database = draft(source)
    shape.spoil(old_database, source)
    with (
        _in_file(shape, old_database, folder, source)
        if shape.other_types is None
        else _on_server(shape, old_database, databases, source) as url
    ):
        extras = source.choice(((), ("--map-account", "1=1"), ("--source", "the old one")))
        arguments = (*_ALWAYS, *shape.arguments, *(extras if shape.arguments else ()))
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
