"""The cases in their order, and how kept rows are shown: tables in Markdown, as in lab/results, and plots."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.benchmarks import conditions
from lab.benchmarks.goals import number
from lab.benchmarks.kept import Part, made_by, pyplot, save, table
from lab.benchmarks.scale import drains, reads
from lab.benchmarks.scale.case import Case, Kept, Plot, Row, Run, Value
from lab.benchmarks.scale.filled import FILL_CASE
from lab.benchmarks.scale.steady import CASE
from lab.benchmarks.scale.years import BACKUP, CLEANUP, RETENTION

_CASES = (
    *(CASE, drains.BACKLOG, drains.WORKERS, drains.ACCOUNTS, drains.SCHEDULERS),
    *(FILL_CASE, CLEANUP, reads.CASE, BACKUP, RETENTION),
)
CASES: dict[str, Case] = {case.name: case for case in _CASES}


def part(kept: Path) -> Part:
    return made_by(f"python -m lab.benchmarks.scale --from {kept} --page lab/results/performance.md")


_EVERY = {title: every for case in CASES.values() for title, every in case.every.items()}


def tables(kept: Kept) -> str:
    titles = dict.fromkeys(row.table for row in kept.rows)
    rows = (_titled(title, kept.of(title)[:: _EVERY.get(title, 1)]) for title in titles if _EVERY.get(title, 1))
    return "\n\n".join([*rows, _runs(kept), *_conditions(kept)])


def line(row: Row) -> str:
    """Returns one for a screen; empty where its table is not shown."""
    columns = ", ".join(f"{column} {cell(value)}" for column, value in row.values.items())
    return f"{row.table}: {columns}" if _EVERY.get(row.table, 1) else ""


def _titled(title: str, rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    cells = ([cell(row.values[column]) if column in row.values else "–" for column in columns] for row in rows)
    return f"**{title}**\n\n{table(columns, cells)}"


def cell(value: Value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else number(value)


def _runs(kept: Kept) -> str:
    """Says how to do them again, in the order of their rows."""
    runs = dict.fromkeys((f"`{run.commit}`", f"`{_options(run)}`") for run in kept.runs)
    return f"**the runs**\n\n{table(['commit', 'options'], runs)}"


def _options(run: Run) -> str:
    """Returns those of `python -m lab.benchmarks.scale` that are not the usual ones."""
    arguments = (
        f"--{case}-{name} {','.join(map(str, values))}"
        for case, sizes in run.sizes.items()
        for name, values in sizes.items()
        if tuple(values) != CASES[case].sizes[name].usual
    )
    return " ".join([f"--cases {','.join(run.sizes)}", *arguments])


def _conditions(kept: Kept) -> list[str]:
    versions = {name: version for run in kept.runs for name, version in run.versions.items()}
    versions_text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [f"{paragraph} {versions_text}." for paragraph in conditions.paragraphs(kept.runs)]


def draw(kept: Kept, folder: Path) -> list[Path]:
    """Writes those of all cases with rows. Raises ModuleNotFoundError without matplotlib."""
    plots = {name: plot for case in CASES.values() for name, plot in case.plots.items()}
    return [
        save(_figure(plot, rows), folder / name)
        for name, plot in plots.items()
        if (rows := [row for row in kept.of(plot.table) if plot.x in row.values])
    ]


def _figure(plot: Plot, rows: Sequence[Row]) -> Any:
    size = (9, 1 + 2.2 * len(plot.panels))
    figure, panels = pyplot().subplots(
        len(plot.panels), 1, sharex=True, squeeze=False, figsize=size, layout="constrained"
    )
    for (axes,), columns in zip(panels, plot.panels, strict=True):
        _panel(axes, plot, columns, rows)
    figure.suptitle(plot.title, fontsize=10)
    axes.set_xlabel(plot.x)
    return figure


def _panel(axes: Any, plot: Plot, columns: Sequence[str], rows: Sequence[Row]) -> None:
    for column in columns:
        values: dict[Any, list[Any]] = {}
        for row in rows:
            values.setdefault(row.values[plot.x], []).append(row.values[column])
        places = sorted(values)
        (line,) = axes.plot(places, [statistics.median(values[place]) for place in places], label=column)
        if plot.log:
            points = [(place, value) for place in places for value in values[place]]
            axes.scatter(*zip(*points, strict=True), color=line.get_color(), s=12)
    if plot.log:
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
