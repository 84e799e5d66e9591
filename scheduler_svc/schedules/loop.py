"""The loop that runs the ticks of schedules. Each replica has one; they share what is due."""

from __future__ import annotations

from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls, SkipLocked
from scheduler_svc.runtime.loops import Run
from scheduler_svc.schedules.work import Ticks

MAX_INTERVAL = 5.0
"""Seconds after which it looks without a signal: one may be lost, and a tick is missed after twice as long."""


def ticking(calls: Calls, ticks: Ticks, metrics: Metrics | None = None) -> Run:
    """Runs the ticks that are due; sleeps until the next one is."""
    skipping = SkipLocked(calls)

    async def run_once() -> float:
        fired = await skipping.run(ticks.run_due)
        if metrics:
            metrics.schedule_ticks.inc(fired.count)
        return fired.wait(MAX_INTERVAL)

    return run_once
