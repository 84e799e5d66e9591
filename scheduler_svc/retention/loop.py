"""The retention loop: deletes what is older than its retention, a batch at a time."""

from __future__ import annotations

from datetime import timedelta

import structlog

from scheduler_svc.config import Settings
from scheduler_svc.domain.rollup import Resolution
from scheduler_svc.retention import work
from scheduler_svc.retention.work import Position, Sweep
from scheduler_svc.runtime.calls import Calls, timed

MAX_INTERVAL = 3_600.0

_log = structlog.get_logger(__name__)


class Retention:
    """A round goes through all sweeps. `run_once` does one batch, so that the loop stops soon."""

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self._calls = calls
        self._sweeps: list[tuple[str, Sweep]] = [
            ("silent workers", work.silent_workers),
            ("request ids", work.old_requests),
            ("deliveries", work.delivered),
            ("exhausted deliveries", work.exhausted),
            ("deliveries of deleted webhooks", work.of_deleted_webhooks),
            ("hours of rollups", work.old_rollups(Resolution.HOUR)),
            ("days of rollups", work.old_rollups(Resolution.DAY)),
        ]
        if (age := settings.retention) is not None:
            self._sweeps.append(("ended tasks", work.ended_tasks(timedelta(seconds=age))))
        if (age := settings.content_retention) is not None:
            kept = timedelta(seconds=age)
            self._sweeps += [("contents", work.old_contents(kept)), ("imported rows", work.old_imports(kept))]
        self._sweeps.append(("audit events", work.old_audit_events(timedelta(seconds=settings.audit_retention))))
        ages = (settings.retention, settings.content_retention, settings.audit_retention)
        self._interval = max(1.0, min(MAX_INTERVAL, *(age / 10 for age in ages if age is not None)))
        """Seconds between two rounds: a tenth of the shortest age, from 1 s to an hour."""
        self._next = 0
        self._position: Position = None

    async def run_once(self) -> float:
        """Deletes the next batch; returns the seconds until the next one."""
        name, sweep = self._sweeps[self._next]
        swept, pause = await timed(self._calls.run(work.sweep_exclusively, sweep, self._position))
        if swept is None:
            return self._end()
        if swept.deleted:
            _log.info(f"{name} deleted", action="retention", count=swept.deleted)
        if swept.more:
            self._position = swept.position
            return pause
        self._next, self._position = self._next + 1, None
        return 0.0 if self._next < len(self._sweeps) else self._end()

    def _end(self) -> float:
        self._next, self._position = 0, None
        return self._interval
