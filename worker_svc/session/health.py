"""A circuit breaker: keeps a worker whose CLI is broken from taking tasks.

    CLOSED ── quick failures in a row, or the CLI is missing ──> OPEN ── half_open ──> HALF_OPEN
       ^                                                          ^                        │
       └─────────── the probe completed ────────────────── the probe failed ───────────────┘

A worker whose CLI fails at once is the fastest of its pool: without a breaker it would claim the whole queue and use up
every task's retries. But the tasks may be the cause, most often those of one account. So failures open the circuit only
if they are of two accounts, unless the worker gets tasks of one account only, and a task that had failed on another
worker does not count. A new process begins CLOSED.

`CircuitBreaker` is pure apart from its random numbers; `Probes` carries out what it decides: waits, runs `--version`
before a probe, has leases released, logs.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum, auto

import structlog

from worker_svc.guard.child import GuardLostError
from worker_svc.outcome import Deferred, Failed, Outcome, Reason
from worker_svc.runner import CannotRunError, CliUnusableError, RunExpiredError
from worker_svc.session.leases import Lease
from worker_svc.session.loop import Loop

QUICK_FAILURE_LIMIT = 10.0
"""Seconds: a run that fails sooner counts as a quick failure, for which the CLI is the likely cause."""
MAX_QUICK_FAILURES = 5  # quick failures in a row that open the circuit
MAX_ACCOUNT_FAILURES = 3
"""Quick failures of one account that count, if the worker gets other accounts' tasks too."""
ACCOUNT_WINDOW = 100
"""Leases in a row of one account after which the worker counts as getting no others. As many failures in a row open the
circuit, whatever their accounts."""
MIN_PAUSE = 1.0  # seconds between the opening and the first probe
MAX_PAUSE = 300.0
"""Seconds between two probes, at most; the pause doubles with each probe that fails."""
MAX_ERROR = 500  # characters that are kept of an error
_MAX_DOUBLINGS = 16

_log = structlog.get_logger()


class CircuitState(Enum):
    """How many leases the breaker admits."""

    CLOSED = auto()  # any number
    OPEN = auto()  # none
    HALF_OPEN = auto()  # one at a time, as a probe


class CircuitBreaker:
    """Decides by how runs ended.

    While the circuit is not closed only the probe counts: a run that began earlier says little about the CLI now.
    """

    def __init__(self) -> None:
        self.state = CircuitState.CLOSED
        self.last_error = ""  # why the circuit is not closed; empty if it is
        self.pause = 0.0
        """Seconds from the last opening to `half_open`, with jitter, because many workers may fail at once."""
        self._failures: dict[str, int | None] = {}
        """Tasks that failed quickly in a row, each with its account; None if it had failed elsewhere."""
        self._account = 0
        self._others_for = 0
        """Leases of the current account until the worker counts as getting no others."""
        self._openings = 0
        self._probe: str | None = None

    @property
    def capacity(self) -> int | None:
        """Leases that may be taken beyond those that are held; None means no limit."""
        if self.state is CircuitState.CLOSED:
            return None
        return int(self.state is CircuitState.HALF_OPEN and self._probe is None)

    def admit(self, lease: Lease) -> bool:
        """Returns whether a lease may be taken. In HALF_OPEN it becomes the probe."""
        if self.capacity == 0:
            return False
        if self.state is CircuitState.HALF_OPEN:
            self._probe = lease.lease_id
        self._note_account(lease.account_id)
        return True

    def record_run(self, lease: Lease, outcome: Outcome, lasted: float) -> None:
        """Records a run that ended by itself, `lasted` seconds after its start.

        Deferrals and options that are not allowed do not count. Do not record runs that were stopped.
        """
        if isinstance(outcome, Deferred):
            return
        if isinstance(outcome, Failed) and outcome.reason is Reason.INVALID_CREATOR_OPTIONS:
            return
        if self.state is CircuitState.CLOSED:
            self._count(lease, outcome, lasted)
        elif lease.lease_id == self._probe:
            self._judge_probe(lease, outcome)

    def record_lease_end(self, lease_id: str) -> None:
        """Notes that a lease is no longer held. If it was an undecided probe, another one may be taken."""
        if lease_id == self._probe:
            self._probe = None

    def half_open(self) -> None:
        """Ends the pause: the CLI can be run, so one task may probe it."""
        if self.state is CircuitState.OPEN:
            self.state = CircuitState.HALF_OPEN

    def reopen(self, why: str) -> None:
        """Begins another pause: the CLI cannot be run, so no task probes it."""
        if self.state is CircuitState.OPEN:
            self._open(why)

    def _note_account(self, account_id: int) -> None:
        if account_id != self._account and self._account:
            self._others_for = ACCOUNT_WINDOW
        elif self._others_for:
            self._others_for -= 1
        self._account = account_id

    def _count(self, lease: Lease, outcome: Outcome, seconds: float) -> None:
        if not isinstance(outcome, Failed):
            self._failures.clear()
        elif outcome.reason is Reason.CREATOR_CLI_NOT_FOUND:
            self._open(_text(outcome))
        elif seconds >= QUICK_FAILURE_LIMIT:
            self._failures.clear()
        else:
            self._failures[lease.task_id] = None if lease.failed_elsewhere else lease.account_id
            if self._cli_is_suspect():
                self._open(_text(outcome))

    def _cli_is_suspect(self) -> bool:
        """Returns whether the failures in a row point to the CLI rather than to the tasks."""
        by_account = Counter(account_id for account_id in self._failures.values() if account_id is not None)
        bound = MAX_ACCOUNT_FAILURES if self._others_for else MAX_QUICK_FAILURES
        count = sum(min(n, bound) for n in by_account.values())
        return count >= MAX_QUICK_FAILURES or len(self._failures) >= ACCOUNT_WINDOW

    def _judge_probe(self, lease: Lease, outcome: Outcome) -> None:
        self._probe = None
        if isinstance(outcome, Failed):
            self._open(_text(outcome), longer=not lease.failed_elsewhere)
            return
        self.state, self.last_error = CircuitState.CLOSED, ""
        self._openings = 0

    def _open(self, reason: str, *, longer: bool = True) -> None:
        self._openings += longer
        bound = min(MAX_PAUSE, MIN_PAUSE * 2 ** min(self._openings - 1, _MAX_DOUBLINGS))
        self.pause = random.uniform(max(MIN_PAUSE, bound / 2), bound)  # noqa: S311 - spreads probes, not a secret
        self.state = CircuitState.OPEN
        self.last_error = reason[:MAX_ERROR]
        self._failures.clear()


def _text(failure: Failed) -> str:
    return f"{failure.reason}: {failure.message}"


class Probes:
    """A worker's circuit breaker, with its clock."""

    def __init__(
        self, version: Callable[[], Awaitable[str]], opened: Callable[[], None], changed: Callable[[], None]
    ) -> None:
        """`version` runs `--version`, and raises CliUnusableError.

        `opened` is called when the circuit opens, `changed` when there may be something to send.
        """
        self.breaker = CircuitBreaker()
        self._version = version
        self._opened = opened
        self._changed = changed
        self._recovery = Loop(self._wait_to_half_open)

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: no lease is taken until its pause is over."""
        return self.breaker.state is CircuitState.OPEN

    @property
    def unhealthy(self) -> bool:
        return self.breaker.state is not CircuitState.CLOSED

    def admit(self, lease: Lease) -> bool:
        admitted = self.breaker.admit(lease)
        if admitted and self.unhealthy:
            _log.info("probing the CLI with one task", action="worker.probing", **lease.log_keys)
        return admitted

    def record_run(self, lease: Lease, outcome: Outcome, lasted: float) -> None:
        former_state = self.breaker.state
        self.breaker.record_run(lease, outcome, lasted)
        if self.breaker.state is former_state:
            return
        if not isinstance(outcome, Failed):
            _log.info("the CLI works again", action="worker.healthy", **lease.log_keys)
            return
        # The message may quote the task: it goes where tasks are shown, not into the log.
        _log.error(
            "the CLI fails at once or is missing: the worker takes one task at a time, as a probe",
            action="worker.unhealthy",
            reason=outcome.reason,
            exit_code=outcome.details.get("exit_code", ""),
            next_probe_in=round(self.breaker.pause, 1),
            **lease.log_keys,
        )
        self._recovery.start()
        self._opened()

    async def close(self) -> None:
        await self._recovery.stop()

    async def _wait_to_half_open(self) -> None:
        """Waits for the pause to pass, and for another one each time that the CLI cannot be run."""
        while self.is_open:
            await asyncio.sleep(self.breaker.pause)
            try:
                await self._version()
            except GuardLostError:
                return  # the worker ends
            except (CliUnusableError, CannotRunError, RunExpiredError, OSError) as error:
                self.breaker.reopen(str(error))
                pause = round(self.breaker.pause, 1)
                _log.error("the CLI can't be run", action="worker.unusable", error=str(error), next_probe_in=pause)
            else:
                self.breaker.half_open()
            self._changed()
