"""Says when PostgreSQL has a setting off without which a crash loses what was acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from scheduler_svc.application.calls import Calls
from scheduler_svc.metrics import Metrics

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

CHECK_INTERVAL = 60.0

_log = structlog.get_logger(__name__)


class DurabilityCheck:
    """Lives on the event loop."""

    def __init__(self, calls: Calls, metrics: Metrics | None) -> None:
        self._calls = calls
        self._metrics = metrics
        self._weakened: Sequence[str] = ()

    async def run_once(self) -> float:
        """Logs what has changed; returns the seconds until the next check."""
        weakened = await self._calls.run(_weakened)
        for setting in weakened:
            if setting not in self._weakened:
                _log.warning(
                    "PostgreSQL has a setting off without which a crash loses acknowledged work",
                    action="durability",
                    setting=setting,
                )
        if self._weakened and not weakened:
            _log.info("no setting of durability is off any more", action="durability")
        self._weakened = weakened
        if self._metrics:
            self._metrics.sample_durability(weakened)
        return CHECK_INTERVAL


def _weakened(tx: Tx) -> tuple[str, ...]:
    return tx.system.weakened_settings()
