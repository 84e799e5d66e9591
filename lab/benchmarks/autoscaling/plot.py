"""The plot of a run, as SVG: tasks above, workers below."""

from __future__ import annotations

from pathlib import Path

from lab.benchmarks import plotting
from lab.benchmarks.autoscaling.experiment import Outcome


def draw(outcome: Outcome, path: Path) -> None:
    """Writes the plot. Raises ModuleNotFoundError without matplotlib."""
    times = [sample.time for sample in outcome.samples]
    figure, (tasks, workers) = plotting.pyplot().subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained")
    tasks.plot(times, [sample.open_tasks for sample in outcome.samples], label="tasks that have not ended")
    tasks.plot(times, [sample.demand for sample in outcome.samples], label="demand, as KEDA is told", linestyle="--")
    workers.step(times, [sample.workers for sample in outcome.samples], where="post", label="worker processes")
    workers.step(times, [sample.serving for sample in outcome.samples], where="post", label="of these, take tasks")
    for axes in (tasks, workers):
        for burst in outcome.bursts:
            axes.axvline(burst.time, color="grey", linewidth=0.8, linestyle=":")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right")
    workers.set_xlabel("seconds; a dotted line is a burst")
    workers.yaxis.get_major_locator().set_params(integer=True)
    plotting.save(figure, path)
