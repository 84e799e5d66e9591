"""What was measured, kept as JSON lines: what a run was, then a line for each row of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from lab.benchmarks import kept
from lab.benchmarks.conditions import Conditions

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


@dataclass(frozen=True, slots=True)
class Kept:
    """The runs of a file, and all of their rows."""

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]

    def of(self, table: str) -> list[Row]:
        return [row for row in self.rows if row.table == table]


def run_line(run: Run) -> str:
    return json.dumps({"run": asdict(run)})


def row_line(row: Row) -> str:
    return json.dumps({"row": asdict(row)})


def read(lines: Iterable[str]) -> Kept:
    """Returns what `run_line` and `row_line` have written. Raises ValueError where a line is of something else."""
    records = kept.read(
        lines, {"run": lambda values: Run(**values), "row": lambda values: Row(**values)}, "lab.benchmarks.scale"
    )
    return Kept(tuple(records["run"]), tuple(records["row"]))
