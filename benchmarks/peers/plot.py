"""The plots of a run, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import plotting
from benchmarks.peers.contenders import ALL, CONTENTGEN, Contender
from benchmarks.peers.figures import BULK, ENQUEUE, OUR_JOB, Kept

PLOTS = {
    "peers-job.svg": (OUR_JOB, "our job: a result of 2 KB and a pool row in one commit, 2 workers, tasks/s"),
    "peers-enqueue.svg": (ENQUEUE, "enqueue one by one, tasks/s"),
    "peers-bulk.svg": (BULK, "enqueue in bulk, tasks/s"),
}


def bars(kept: Kept, measure: str) -> list[tuple[Contender, float, float, float]]:
    """Who was measured, with the median, the lowest and the highest; the quickest first."""
    found = [(each, kept.median(each.key, measure)) for each in ALL]
    measured = [(each, median.value, median.low, median.high) for each, median in found if median]
    return sorted(measured, key=lambda bar: -bar[1])


def draw(kept: Kept, folder: Path) -> list[Path]:
    """Writes the plots. Raises ModuleNotFoundError without matplotlib."""
    plt = plotting.pyplot()
    made = []
    for name, (measure, title) in PLOTS.items():
        if of := bars(kept, measure):
            figure, axes = plt.subplots(figsize=(9, 0.7 + 0.34 * len(of)), layout="constrained")
            _draw(axes, of, title)
            made.append(plotting.save(figure, folder / name))
    return made


def _draw(axes: Any, of: list[tuple[Contender, float, float, float]], title: str) -> None:
    names = [f"{each.name} ({each.store.value})" for each, *_ in of]
    values = [value for _, value, *_ in of]
    errors = [[value - low for _, value, low, _ in of], [high - value for _, value, _, high in of]]
    colours = ["C1" if each.key == CONTENTGEN else "C0" for each, *_ in of]
    drawn = axes.barh(names, values, xerr=errors, color=colours, error_kw={"elinewidth": 0.8, "alpha": 0.6})
    axes.bar_label(drawn, labels=[f"{value:,.0f}" for value in values], padding=6, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
