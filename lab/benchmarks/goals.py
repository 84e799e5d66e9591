"""Figures beside what they should be on two cores, for people or as JSON.

The goals are of one scheduler and two workers, results stored, every write fenced and durable.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lab.benchmarks.conditions import Machine


@dataclass(frozen=True, slots=True)
class Goal:
    """`must` is expected, `goal` is good, beyond `limit` a measurement is doubtful; None: there is none."""

    must: float
    goal: float
    limit: float | None = None
    less_is_better: bool = False

    def met(self, value: float) -> str:
        sign = -1 if self.less_is_better else 1
        if sign * value >= sign * self.goal:
            return "goal"
        return "must" if sign * value >= sign * self.must else "below must"


@dataclass(frozen=True, slots=True)
class Floor:
    """What the part that decides a figure does by itself: here, just now, and on the machine that the goals are of."""

    here: float
    there: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value, of `count` tasks, samples or workers. `note` says under which conditions."""

    name: str
    value: float
    unit: str
    count: int
    goal: Goal | None = None
    note: str = ""
    floor: Floor | None = None

    @property
    def there(self) -> float:
        """What it comes to at the speed of the goals' machine, where its floor was measured; else as it is."""
        return self.value if self.floor is None else self.value * self.floor.there / self.floor.here


DRAIN = Goal(8_000, 15_000, 18_000)
END_TO_END = Goal(5_000, 11_000, 15_000)
BATCH_SUBMIT = Goal(25_000, 45_000, 57_000)
SUBMIT = Goal(3_000, 4_800, 5_000)
IDLE_P50_MS = Goal(3, 1.8, 1.5, less_is_better=True)
IDLE_P99_MS = Goal(8, 4, less_is_better=True)
AFTER_BURST_P50_MS = Goal(5, 2.5, less_is_better=True)
AFTER_BURST_P99_MS = Goal(12, 6, less_is_better=True)
IDLE_WORKERS_MB = Goal(150, 90, less_is_better=True)
IDLE_WORKERS_CPU = Goal(10, 3, less_is_better=True)
AT_REST_QUERIES = Goal(5, 2, less_is_better=True)
PAGE_MS = Goal(150, 75, less_is_better=True)
SEEN_MS = Goal(200, 100, less_is_better=True)


def as_json(figures: Sequence[Figure], of: Machine) -> str:
    return json.dumps({"machine": asdict(of), "figures": [asdict(figure) for figure in figures]}, indent=2)


def as_table(figures: Sequence[Figure], of: Machine) -> str:
    """Gives one line a figure: measured, its floor, both at the goals' machine's speed, the goals, what it comes to."""
    heads = ("measure", "measured", "unit", "floor here", "there", "must", "goal", "limit", "reached", "")
    rows = [heads, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    sides = ["rjust" if column in {1, 3, 4, 5, 6, 7} else "ljust" for column in range(len(heads))]
    lines = [
        "  ".join(getattr(cell, side)(width) for cell, side, width in zip(row, sides, widths, strict=True))
        for row in rows
    ]
    return "\n".join([of.line, "", *(line.rstrip() for line in lines)])


def _row(figure: Figure) -> tuple[str, ...]:
    goal = figure.goal
    bounds = ("", "", "", "")
    if goal is not None:
        limit = "–" if goal.limit is None else number(goal.limit)
        bounds = (number(goal.must), number(goal.goal), limit, goal.met(figure.there))
    floor = (number(figure.floor.here), number(figure.there)) if figure.floor else ("", "")
    return (figure.name, number(figure.value), figure.unit, *floor, *bounds, figure.note)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
