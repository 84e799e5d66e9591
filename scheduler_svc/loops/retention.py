"""The retention loop: deletes what is older than it is kept, a batch at a time, then rests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import structlog

from scheduler_svc.application import retention
from scheduler_svc.application.calls import Calls
from scheduler_svc.application.retention import Position, Sweep

MAX_REST = 3_600.0

_log = structlog.get_logger(__name__)


class Retention:
    """One round goes through all sweeps. A run is one batch, so that it can be stopped soon."""

    def __init__(self, calls: Calls, *, tasks: timedelta | None, contents: timedelta | None) -> None:
        """How long ended tasks and contents are kept; None: for ever."""
        self._calls = calls
        self._sweeps: list[tuple[str, Sweep]] = [
            ("silent workers", retention.silent_workers),
            ("request ids", retention.old_requests),
        ]
        if tasks is not None:
            self._sweeps.append(("ended tasks", retention.ended_tasks(tasks)))
        if contents is not None:
            self._sweeps += [
                ("contents", retention.old_contents(contents)),
                ("imported rows", retention.old_imports(contents)),
            ]
        self._rest = rest(age for age in (tasks, contents) if age is not None)
        self._next = 0
        self._position: Position = None

    async def run_once(self) -> float:
        """Deletes the next batch; returns the seconds until the one after that."""
        what, sweep = self._sweeps[self._next]
        swept = await self._calls.run(retention.in_turn, sweep, self._position)
        if swept is None:
            return self._end()
        if swept.deleted:
            _log.info(f"{what} deleted", action="retention", count=swept.deleted)
        if swept.more:
            self._position = swept.position
            return 0.0
        self._next, self._position = self._next + 1, None
        return 0.0 if self._next < len(self._sweeps) else self._end()

    def _end(self) -> float:
        self._next, self._position = 0, None
        return self._rest


def rest(ages: Iterable[timedelta]) -> float:
    """Seconds between two rounds: a tenth of what the shortest of these is kept for, within 1 s and an hour."""
    return min([MAX_REST, *(max(age.total_seconds() / 10, 1.0) for age in ages)])
