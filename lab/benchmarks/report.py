"""Figures beside their goals, for people or as JSON, with the machine that they are of."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from lab.benchmarks.goals import Figure
from scheduler_svc.postgres.programs import find_bindir


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures depend on."""

    cores: int
    memory_gib: float
    python: str
    postgres: str
    filesystem: str

    @property
    def line(self) -> str:
        return (
            f"{self.cores} cores, {self.memory_gib:.0f} GiB, Python {self.python}, PostgreSQL {self.postgres},"
            f" data on {self.filesystem}"
        )


def machine(folder: Path) -> Machine:
    """This machine, with its data in `folder`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cores,
        psutil.virtual_memory().total / 2**30,
        platform.python_version(),
        _postgres_version(),
        filesystem_of(folder),
    )


def _postgres_version() -> str:
    output = subprocess.run([find_bindir() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return output.stdout.split()[2]


def filesystem_of(folder: Path) -> str:
    """The kind of file system that holds `folder`; on tmpfs a sync costs nothing, and figures are flattering."""
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def as_json(figures: Sequence[Figure], of: Machine) -> str:
    """Returns the figures as one JSON document."""
    return json.dumps({"machine": asdict(of), "figures": [asdict(figure) for figure in figures]}, indent=2)


def as_table(figures: Sequence[Figure], of: Machine) -> str:
    """One line a figure: measured, its floor, both at the goals' machine's speed, the goals, what it comes to."""
    heads = ("measure", "measured", "unit", "floor here", "there", "must", "goal", "limit", "reached", "")
    rows = [heads, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    numbers = {1, 3, 4, 5, 6, 7}
    lines = [
        "  ".join(
            cell.rjust(w) if i in numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
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
    """Returns a number with three digits at least."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
