"""Samples for metrics of what all replicas have in common.

Every replica reads them by a timer, and all read the same. A scrape reads only the last sample, so it does not wait for
the database.
"""

from __future__ import annotations

from scheduler_svc.config import Settings
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.system.work import read_figures

FIGURES_INTERVAL = 15.0


async def sample_figures(calls: Calls, metrics: Metrics, settings: Settings) -> float:
    """Reads what all replicas have in common, and what is told of single accounts."""
    metrics.sample_figures(await calls.run(read_figures, settings.metrics_accounts))
    return FIGURES_INTERVAL
