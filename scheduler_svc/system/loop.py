"""Samples for metrics: what lives on the event loop, and what all replicas have in common.

Every replica reads the figures by a timer, and all read the same. A scrape runs on a thread of its own and reads only
the last sample, so it waits neither for a busy event loop nor for the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.system.work import read_figures

SAMPLE_INTERVAL = 0.5
FIGURES_INTERVAL = 15.0
FROZEN_LIMIT = 30.0
"""Seconds without a sample after which the event loop counts as frozen."""


class Sampling:
    """Lives on the event loop, but for `frozen_reasons`."""

    def __init__(self, metrics: Metrics, sample: Callable[[Metrics], None]) -> None:
        """`sample` sets the gauges of what lives on the event loop."""
        self._metrics = metrics
        self._sample = sample
        self._due: float | None = None
        self._sampled_at = time.monotonic()

    async def run_once(self) -> float:
        """Samples, and measures how late the event loop runs it; returns the seconds until the next time."""
        now = asyncio.get_running_loop().time()
        if self._due is not None:
            self._metrics.loop_lag.observe(max(0.0, now - self._due))
        self._sample(self._metrics)
        self._sampled_at = time.monotonic()
        self._due = asyncio.get_running_loop().time() + SAMPLE_INTERVAL
        return SAMPLE_INTERVAL

    def frozen_reasons(self) -> list[str]:
        """Why the process counts as dead; empty if it lives. Any thread may call it."""
        silent = time.monotonic() - self._sampled_at
        return [f"the event loop has not run for {silent:.0f} s"] if silent > FROZEN_LIMIT else []


async def sample_figures(calls: Calls, metrics: Metrics, account_ids: Sequence[int]) -> float:
    """Reads what all replicas have in common, and what is told of these accounts."""
    metrics.sample_figures(await calls.run(read_figures, account_ids))
    return FIGURES_INTERVAL
