"""When a guard counts as dead that the kernel still shows: a run is past its deadline, and the guard has not ended it.

Layer: inside guard, on the worker's side. Pure; times are seconds of `now()`.

A guard that is stopped, starved or stuck can end nothing, and says nothing either. Its worker notices here, unless it
stands still itself: so only time counts in which the worker looked, and a guard that wakes with its worker has a moment
to do what it missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHECK_INTERVAL = 0.1
"""Seconds between two looks, while a run is open."""
_MAX_GAP = 3 * CHECK_INTERVAL
"""Seconds between two looks that count at most: in the rest of a longer gap the worker stood still, too."""


def overdue_limit(grace: float) -> float:
    """Seconds that a guard gets past a deadline: its grace between TERM and KILL, and half of that again, 1 s at least.

    The grace is half of the time to stop, so what is left until the lease may run out is another half of the grace.
    """
    return max(1.5 * grace, 1.0)


@dataclass(slots=True)
class _WatchedRun:
    deadline: float
    waited: float = 0.0
    """Seconds past the deadline in which the worker was awake."""
    end_requested: bool = False


class Watchdog:
    """The runs that the guard has still to end, and how long it is late."""

    def __init__(self) -> None:
        self._runs: dict[str, _WatchedRun] = {}
        self._checked_at = 0.0

    def __bool__(self) -> bool:
        """Whether there is anything to look after."""
        return bool(self._runs)

    def opened(self, run: str, deadline: float, at: float) -> None:
        """A run began, be it past its deadline."""
        if not self._runs:
            self._checked_at = at
        self._runs[run] = _WatchedRun(deadline)

    def moved(self, deadlines: Mapping[str, float]) -> None:
        """Runs were renewed. One that was told to end gets no more time by that: its lease may be renewed for ever."""
        for name, deadline in deadlines.items():
            run = self._runs.get(name)
            if run is not None and not run.end_requested:
                run.deadline, run.waited = deadline, 0.0

    def end_requested(self, run: str) -> None:
        """The guard was asked to end a run."""
        if run in self._runs:
            self._runs[run].end_requested = True

    def ended(self, run: str) -> None:
        """Nothing of a run lives any more."""
        self._runs.pop(run, None)

    def overdue(self, at: float, limit: float) -> str | None:
        """A run that the guard should have ended `patience` seconds ago; None where there is none."""
        gap, self._checked_at = min(at - self._checked_at, _MAX_GAP), at
        for run in self._runs.values():
            run.waited += max(0.0, min(gap, at - run.deadline))
        return next((name for name, run in self._runs.items() if run.waited >= limit), None)
