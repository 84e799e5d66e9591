"""Whether the CLI is worth a task: a circuit breaker round a worker's runs.

Layer: above outcome, below session. Pure but for its dice: whoever carries a pause out has the clock.

    CLOSED ── quick failures in a row, or the CLI is gone ──> OPEN ── try_again ──> HALF_OPEN
       ^                                                       ^                        │
       └──────────── the try completed ───────────────────── the try failed ────────────┘

A worker whose CLI is broken is the quickest one of its pool: without a breaker it would draw in the whole queue, and
use up every task's retries. But tasks can be at fault as well, and then mostly those of one account. So it takes tasks
of two accounts to open the circuit, unless the worker gets those of one only, and a task that failed on another worker
too speaks against itself. A new process begins CLOSED.
"""

from __future__ import annotations

import random
from collections import Counter
from enum import Enum, auto
from typing import Protocol

from worker_svc.outcome import Deferred, Failed, Outcome, Reason

QUICK_FAILURE_LIMIT = 10.0
"""Seconds: a run that fails sooner than this says more about the CLI than about its task."""
MAX_QUICK_FAILURES = 5
"""Tasks that fail quickly, one after the other, and so open the circuit."""
MAX_ACCOUNT_FAILURES = 3
"""So many of them may be one account's, where the worker gets other accounts' tasks too."""
ACCOUNT_WINDOW = 100
"""Leases in a row of one account after which the worker counts as getting no other's; so many failures in a row open
the circuit, whosever they are."""
MIN_PAUSE = 1.0
"""Seconds between the opening and the first try."""
MAX_PAUSE = 300.0
"""Seconds between two tries at most; the pause doubles with each try that fails."""
MAX_ERROR = 500
"""Characters of an error that are kept to be shown."""
_MAX_DOUBLINGS = 16


class CircuitState(Enum):
    """What the breaker lets in."""

    CLOSED = auto()
    """Whatever there is room for."""
    OPEN = auto()
    """Nothing."""
    HALF_OPEN = auto()
    """One task at a time, to try."""


class Leased(Protocol):
    """What the breaker has to know of a lease."""

    @property
    def lease_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def account_id(self) -> int: ...
    @property
    def failed_elsewhere(self) -> bool:
        """Whether its task's attempt before this one failed on another worker."""
        ...


class CircuitBreaker:
    """Judges runs by how they ended.

    While the circuit is not closed, only the lease that is tried counts: what a run that began before comes to says
    little about the CLI as it is now.
    """

    def __init__(self) -> None:
        self.state = CircuitState.CLOSED
        self.last_error = ""
        """Why the circuit is not closed; empty where it is."""
        self.pause = 0.0
        """Seconds from the latest opening to its `try_again`; with jitter, for many workers may fall ill at once."""
        self._failures: dict[str, int | None] = {}
        """The tasks that failed quickly, since one did not: whose they are, or None where they failed elsewhere too."""
        self._account = 0
        self._others_for = 0
        """Leases of the last one's account that are still to come before the others' are long ago."""
        self._openings = 0
        self._probe: str | None = None

    @property
    def capacity(self) -> int | None:
        """Leases that may be taken beyond those that are held; None: the breaker sets no bound."""
        if self.state is CircuitState.CLOSED:
            return None
        return int(self.state is CircuitState.HALF_OPEN and self._probe is None)

    def admit(self, lease: Leased) -> bool:
        """Whether a lease may take its place; where one is to be tried, this is the one."""
        if self.capacity == 0:
            return False
        if self.state is CircuitState.HALF_OPEN:
            self._probe = lease.lease_id
        self._note_account(lease.account_id)
        return True

    def ran(self, lease: Leased, outcome: Outcome, lasted: float) -> None:
        """A run came to `outcome` by itself, `lasted` seconds after its start. One that was stopped says nothing.

        Nor does one that was deferred, where the model can't go on, nor one whose options are not allowed.
        """
        if isinstance(outcome, Deferred):
            return
        if isinstance(outcome, Failed) and outcome.reason is Reason.INVALID_CREATOR_OPTIONS:
            return
        if self.state is CircuitState.CLOSED:
            self._count(lease, outcome, lasted)
        elif lease.lease_id == self._probe:
            self._judge_probe(lease, outcome)

    def over(self, lease_id: str) -> None:
        """A lease is not held any more: where it was tried and decided nothing, another one may be."""
        if lease_id == self._probe:
            self._probe = None

    def half_open(self) -> None:
        """The pause is over, and the CLI can be run."""
        if self.state is CircuitState.OPEN:
            self.state = CircuitState.HALF_OPEN

    def reopen(self, why: str) -> None:
        """The pause is over, and the CLI can't be run: no task is tried, and the next pause begins."""
        if self.state is CircuitState.OPEN:
            self._open(why)

    def _note_account(self, account_id: int) -> None:
        if account_id != self._account and self._account:
            self._others_for = ACCOUNT_WINDOW
        elif self._others_for:
            self._others_for -= 1
        self._account = account_id

    def _count(self, lease: Leased, outcome: Outcome, lasted: float) -> None:
        if not isinstance(outcome, Failed):
            self._failures.clear()
        elif _is_gone(outcome):
            self._open(_text(outcome))
        elif lasted >= QUICK_FAILURE_LIMIT:
            self._failures.clear()
        else:
            self._failures[lease.task_id] = None if lease.failed_elsewhere else lease.account_id
            if self._is_to_blame():
                self._open(_text(outcome))

    def _is_to_blame(self) -> bool:
        """Whether what failed in a row speaks against the CLI, and not against the tasks."""
        by_account = Counter(account_id for account_id in self._failures.values() if account_id is not None)
        bound = MAX_ACCOUNT_FAILURES if self._others_for else MAX_QUICK_FAILURES
        counted = sum(min(n, bound) for n in by_account.values())
        return counted >= MAX_QUICK_FAILURES or len(self._failures) >= ACCOUNT_WINDOW

    def _judge_probe(self, lease: Leased, outcome: Outcome) -> None:
        self._probe = None
        if isinstance(outcome, Failed):
            self._open(_text(outcome), longer=not lease.failed_elsewhere)
            return
        self.state, self.last_error = CircuitState.CLOSED, ""
        self._openings = 0

    def _open(self, why: str, *, longer: bool = True) -> None:
        self._openings += longer
        bound = min(MAX_PAUSE, MIN_PAUSE * 2 ** min(self._openings - 1, _MAX_DOUBLINGS))
        self.pause = random.uniform(max(MIN_PAUSE, bound / 2), bound)  # noqa: S311 - spreads tries, keeps no secret
        self.state = CircuitState.OPEN
        self.last_error = why[:MAX_ERROR]
        self._failures.clear()


def _text(failure: Failed) -> str:
    return f"{failure.reason}: {failure.message}"


def _is_gone(failure: Failed) -> bool:
    return failure.reason is Reason.CREATOR_CLI_NOT_FOUND
