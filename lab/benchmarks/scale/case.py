"""What a case is: how it is measured, how large, and how its rows are shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.benchmarks.scale.rows import Row


@dataclass(frozen=True, slots=True)
class Size:
    """An option of a case: one number, or several. `quick` is for a run of seconds, which shows that it works."""

    usual: tuple[int, ...]
    quick: tuple[int, ...]
    text: str


class Sizes:
    """The sizes of a run of one case, by name."""

    def __init__(self, values: Mapping[str, tuple[int, ...]], *, quick: bool = False) -> None:
        """`quick`: it only has to work, so nothing need be warm."""
        self._values = values
        self.quick = quick

    def one(self, name: str) -> int:
        (value,) = self._values[name]
        return value

    def all(self, name: str) -> tuple[int, ...]:
        return self._values[name]


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
    """`measure` has its data in the folder that it gets.

    `takes` says how long that is with the usual sizes. Of a table in `every` each so many-th row is shown, 0: none.
    `plots` are by the names of their files.
    """

    name: str
    text: str
    takes: str
    measure: Callable[[Path, Sizes], AsyncIterator[Row]]
    sizes: Mapping[str, Size]
    plots: Mapping[str, Plot] = field(default_factory=dict)
    every: Mapping[str, int] = field(default_factory=dict)
