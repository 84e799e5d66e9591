"""Finds a guard that hangs: a run is past its deadline, and the guard has not ended it.

Pure; times are seconds of `now()`.

A guard that is stopped, starved or stuck ends nothing, and reports nothing. The worker may have been stopped as well,
so only time in which the worker was checking counts: a guard that resumes with its worker gets time to catch up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHECK_INTERVAL = 0.1  # seconds between two checks, while a run is open
_MAX_GAP = 3 * CHECK_INTERVAL
"""Seconds between two checks that count at most: in a longer gap the worker was stopped, too."""


def overdue_limit(grace: float) -> float:
    """Returns the seconds that a guard gets past a deadline: 1.5 times the grace between TERM and KILL, 1 s at least.

    The grace is half of the time to stop, so half a grace is left until the lease may expire.
    """
    return max(1.5 * grace, 1.0)


@dataclass(slots=True)
class _WatchedRun:
    deadline: float
    waited: float = 0.0  # seconds past the deadline in which the worker was checking
    end_requested: bool = False


class Watchdog:
    """The runs that the guard has still to end, and how late it is."""

    def __init__(self) -> None:
        self._runs: dict[str, _WatchedRun] = {}
        self._checked_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def opened(self, run: str, deadline: float, at: float) -> None:
        """Notes that a run began; its deadline may have passed."""
        if not self._runs:
            self._checked_at = at
        self._runs[run] = _WatchedRun(deadline)

    def moved(self, deadlines: Mapping[str, float]) -> None:
        """Runs were renewed. A run whose end was requested gets no more time: its lease may be renewed for ever."""
        for name, deadline in deadlines.items():
            run = self._runs.get(name)
            if run is not None and not run.end_requested:
                run.deadline, run.waited = deadline, 0.0

    def end_requested(self, run: str) -> None:
        if run in self._runs:
            self._runs[run].end_requested = True

    def ended(self, run: str) -> None:
        """Forgets a run of which no process lives."""
        self._runs.pop(run, None)

    def overdue(self, at: float, limit: float) -> str | None:
        """Returns a run that the guard should have ended `limit` seconds ago; None if there is none."""
        gap, self._checked_at = min(at - self._checked_at, _MAX_GAP), at
        for run in self._runs.values():
            run.waited += max(0.0, min(gap, at - run.deadline))
        return next((name for name, run in self._runs.items() if run.waited >= limit), None)
