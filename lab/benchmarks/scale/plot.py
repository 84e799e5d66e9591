"""The plots of kept rows, as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.benchmarks import plotting
from lab.benchmarks.scale.case import Plot
from lab.benchmarks.scale.cases import CASES
from lab.benchmarks.scale.rows import Kept, Row


def draw(kept: Kept, folder: Path) -> list[Path]:
    """Writes those of all cases with rows. Raises ModuleNotFoundError without matplotlib."""
    plots = {name: plot for case in CASES.values() for name, plot in case.plots.items()}
    return [
        plotting.save(_figure(plot, rows), folder / name)
        for name, plot in plots.items()
        if (rows := [row for row in kept.of(plot.table) if plot.x in row.values])
    ]


def _figure(plot: Plot, rows: Sequence[Row]) -> Any:
    size = (9, 1 + 2.2 * len(plot.panels))
    figure, panels = plotting.pyplot().subplots(
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
