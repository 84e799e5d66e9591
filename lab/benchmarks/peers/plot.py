"""The plots of a run, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.benchmarks import plotting
from lab.benchmarks.peers.contenders import ALL, CONTENTGEN, Contender
from lab.benchmarks.peers.figures import BULK, ENQUEUE, OUR_JOB, Kept

PLOTS = {
    "peers-job.svg": (OUR_JOB, "our job: a result of 2 KB and a pool row in one commit, 2 workers, tasks/s"),
    "peers-enqueue.svg": (ENQUEUE, "enqueue one by one, tasks/s"),
    "peers-bulk.svg": (BULK, "enqueue in bulk, tasks/s"),
}


def bars(kept: Kept, measure: str) -> list[tuple[Contender, float, float, float]]:
    """Who was measured, with the median, the lowest and the highest; the quickest first."""
    medians = [(contender, kept.median(contender.key, measure)) for contender in ALL]
    rows = [(contender, median.value, median.low, median.high) for contender, median in medians if median]
    return sorted(rows, key=lambda bar: -bar[1])


def draw(kept: Kept, folder: Path) -> list[Path]:
    """Writes the plots. Raises ModuleNotFoundError without matplotlib."""
    plt = plotting.pyplot()
    paths = []
    for name, (measure, title) in PLOTS.items():
        if rows := bars(kept, measure):
            figure, axes = plt.subplots(figsize=(9, 0.7 + 0.34 * len(rows)), layout="constrained")
            _draw(axes, rows, title)
            paths.append(plotting.save(figure, folder / name))
    return paths


def _draw(axes: Any, rows: list[tuple[Contender, float, float, float]], title: str) -> None:
    names = [f"{contender.name} ({contender.store.value})" for contender, *_ in rows]
    values = [value for _, value, *_ in rows]
    errors = [[value - low for _, value, low, _ in rows], [high - value for _, value, _, high in rows]]
    colours = ["C1" if contender.key == CONTENTGEN else "C0" for contender, *_ in rows]
    container = axes.barh(names, values, xerr=errors, color=colours, error_kw={"elinewidth": 0.8, "alpha": 0.6})
    axes.bar_label(container, labels=[f"{value:,.0f}" for value in values], padding=6, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
