"""Figures of runs, kept as JSON lines: what a run was, then a line for each figure of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from lab.benchmarks import kept
from lab.benchmarks.conditions import Conditions

ENQUEUE = "enqueue"
BULK = "bulk"
DRAIN_1 = "drain-1"
DRAIN_2 = "drain-2"
OUR_JOB = "our-job"
IDLE_P50 = "idle-p50"
IDLE_P99 = "idle-p99"
MEASURES = (ENQUEUE, BULK, DRAIN_1, DRAIN_2, OUR_JOB, IDLE_P50, IDLE_P99)


@dataclass(frozen=True, slots=True)
class Run(Conditions):
    """What the figures depend on."""

    versions: dict[str, str]
    settings: dict[str, str]
    tasks: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, of so many tasks or samples: tasks a second, or milliseconds where it is idle."""

    peer: str
    measure: str
    round: int
    value: float
    count: int

    @property
    def unit(self) -> str:
        return "ms" if self.measure in (IDLE_P50, IDLE_P99) else "tasks/s"


@dataclass(frozen=True, slots=True)
class Median:
    """Of all rounds."""

    value: float
    low: float
    high: float
    rounds: int
    count: int

    @classmethod
    def of(cls, figures: Sequence[Figure]) -> Self:
        """Of figures of one peer and one measure; at least one."""
        values = [figure.value for figure in figures]
        count = max(figure.count for figure in figures)
        return cls(statistics.median(values), min(values), max(values), len(values), count)


@dataclass(frozen=True, slots=True)
class Kept:
    """The runs of a file, and all of their figures."""

    runs: tuple[Run, ...]
    figures: tuple[Figure, ...]

    def median(self, peer: str, measure: str) -> Median | None:
        """Returns the median of a measure. Returns None if it was not measured."""
        figures = [figure for figure in self.figures if (figure.peer, figure.measure) == (peer, measure)]
        return Median.of(figures) if figures else None


def run_line(run: Run) -> str:
    return json.dumps({"run": asdict(run)})


def figure_line(figure: Figure) -> str:
    return json.dumps({"figure": asdict(figure) | {"value": round(figure.value, 3), "unit": figure.unit}})


def read(lines: Iterable[str]) -> Kept:
    """Returns what `run_line` and `figure_line` have written. Raises ValueError where a line is of something else."""
    kinds = {"run": lambda values: Run(**values), "figure": lambda values: Figure(**_known(values))}
    records = kept.read(lines, kinds, "lab.benchmarks.peers")
    return Kept(tuple(records["run"]), tuple(records["figure"]))


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(Figure)}
