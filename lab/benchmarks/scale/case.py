"""What a case is: how it is measured, how large, and what it keeps as JSON lines: a run, then a line for each row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.benchmarks.conditions import Conditions
from lab.benchmarks.kept import read_lines

Value = int | float | str


@dataclass(frozen=True, slots=True)
class Run(Conditions):
    """What the rows depend on: `sizes` are the options of each case that was measured."""

    versions: dict[str, str]
    sizes: dict[str, dict[str, list[int]]]


@dataclass(frozen=True, slots=True)
class Row:
    """Of the table with that title: a value for each column, in the order of the columns."""

    table: str
    values: dict[str, Value]


Keep = Callable[[Row], None]
"""Takes a row as soon as it is known."""


@dataclass(frozen=True, slots=True)
class Kept:
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]

    def of(self, table: str) -> list[Row]:
        return [row for row in self.rows if row.table == table]


def read_rows(lines: Iterable[str]) -> Kept:
    """Raises ValueError where a line is of something else."""
    return Kept(*read_lines(lines, (Run, Row), "lab.benchmarks.scale"))


@dataclass(frozen=True, slots=True)
class Size:
    """An option of a case: one number, or several. `quick` is for a run of seconds, which shows that it works."""

    usual: tuple[int, ...]
    quick: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """`quick`: it only has to work, so nothing need be warm."""

    values: Mapping[str, tuple[int, ...]]
    quick: bool = False

    def one(self, name: str) -> int:
        (value,) = self.values[name]
        return value

    def all(self, name: str) -> tuple[int, ...]:
        return self.values[name]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over a column `x` of a table; a list of columns for each panel, one below the other.

    `log`: x is on a logarithmic scale, and its values are few: a point for each row, a line through their medians.
    """

    table: str
    x: str
    panels: tuple[tuple[str, ...], ...]
    title: str
    log: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """`measure` has its data in the folder that it gets, and keeps rows as soon as they are known.

    `takes` says how long that is with the usual sizes. Of a table in `every` each so many-th row is shown, 0: none.
    `plots` are by the names of their files.
    """

    name: str
    text: str
    takes: str
    measure: Callable[[Path, Sizes, Keep], Awaitable[None]]
    sizes: Mapping[str, Size]
    plots: Mapping[str, Plot] = field(default_factory=dict)
    every: Mapping[str, int] = field(default_factory=dict)
