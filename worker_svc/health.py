"""Whether the CLI is worth a task: a circuit breaker round a worker's runs.

Layer: above outcome, below session. Pure but for its dice: whoever carries a pause out has the clock.

    CLOSED ── quick failures in a row, or the CLI is gone ──> OPEN ── try_again ──> HALF_OPEN
       ^                                                       ^                        │
       └──────────── the try completed ───────────────────── the try failed ────────────┘

A worker whose CLI is broken is the quickest one of its pool: without a breaker it would draw in the whole queue, and
use up every task's retries. A new process begins CLOSED.
"""

from __future__ import annotations

import random
from enum import Enum, auto

from worker_svc.outcome import Deferred, Failed, Outcome, Reason

QUICK = 10.0
"""Seconds: a run that fails sooner than this says more about the CLI than about its task."""
MOST_QUICK_FAILURES = 5
"""Quick failures in a row that open the circuit."""
FIRST_PAUSE = 1.0
"""Seconds between the opening and the first try."""
LONGEST_PAUSE = 300.0
"""Seconds between two tries at most; the pause doubles with each try that fails."""
MAX_ERROR = 500
"""Characters of an error that are kept to be shown."""
_MOST_DOUBLINGS = 16


class Circuit(Enum):
    """What the breaker lets in."""

    CLOSED = auto()
    """Whatever there is room for."""
    OPEN = auto()
    """Nothing."""
    HALF_OPEN = auto()
    """One task at a time, to try."""


class Breaker:
    """Judges runs by how they ended.

    While the circuit is not closed, only the lease that is tried counts: what a run that began before comes to says
    little about the CLI as it is now.
    """

    def __init__(self) -> None:
        self.circuit = Circuit.CLOSED
        self.last_error = ""
        """Why the circuit is not closed; empty where it is."""
        self.pause = 0.0
        """Seconds from the latest opening to its `try_again`; with jitter, for many workers may fall ill at once."""
        self._quick_failures = 0
        self._openings = 0
        self._tried: str | None = None

    @property
    def room(self) -> int | None:
        """Leases that may be taken beyond those that are held; None: the breaker sets no bound."""
        if self.circuit is Circuit.CLOSED:
            return None
        return int(self.circuit is Circuit.HALF_OPEN and self._tried is None)

    def admit(self, lease_id: str) -> bool:
        """Whether a lease may take its place; where one is to be tried, this is the one."""
        if self.room == 0:
            return False
        if self.circuit is Circuit.HALF_OPEN:
            self._tried = lease_id
        return True

    def ran(self, lease_id: str, outcome: Outcome, lasted: float) -> None:
        """A run came to `outcome` by itself, `lasted` seconds after its start. One that was stopped says nothing.

        Nor does one that was deferred, where the model can't go on, nor one whose options are not allowed.
        """
        if isinstance(outcome, Deferred):
            return
        if isinstance(outcome, Failed) and outcome.reason is Reason.INVALID_CREATOR_OPTIONS:
            return
        if self.circuit is Circuit.CLOSED:
            self._count(outcome, lasted)
        elif lease_id == self._tried:
            self._decide(outcome)

    def over(self, lease_id: str) -> None:
        """A lease is not held any more: where it was tried and decided nothing, another one may be."""
        if lease_id == self._tried:
            self._tried = None

    def try_again(self) -> None:
        """The pause is over."""
        if self.circuit is Circuit.OPEN:
            self.circuit = Circuit.HALF_OPEN

    def _count(self, outcome: Outcome, lasted: float) -> None:
        quick = isinstance(outcome, Failed) and lasted < QUICK
        self._quick_failures = self._quick_failures + 1 if quick else 0
        if isinstance(outcome, Failed) and (_is_gone(outcome) or self._quick_failures >= MOST_QUICK_FAILURES):
            self._open(outcome)

    def _decide(self, outcome: Outcome) -> None:
        self._tried = None
        if isinstance(outcome, Failed):
            self._open(outcome)
            return
        self.circuit, self.last_error = Circuit.CLOSED, ""
        self._quick_failures = self._openings = 0

    def _open(self, failure: Failed) -> None:
        bound = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._openings, _MOST_DOUBLINGS))
        self.pause = random.uniform(max(FIRST_PAUSE, bound / 2), bound)  # noqa: S311 - spreads tries, keeps no secret
        self._openings += 1
        self.circuit = Circuit.OPEN
        self.last_error = f"{failure.reason}: {failure.message}"[:MAX_ERROR]


def _is_gone(failure: Failed) -> bool:
    return failure.reason is Reason.CREATOR_CLI_NOT_FOUND
