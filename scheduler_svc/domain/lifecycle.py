"""The state machine of a task: one table of transitions, each with its letter; and when another attempt follows.

`docs/reference/state-machine.md` explains the letters. The database refuses every other transition by a CHECK on its
history, generated from the same table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, TypeAlias


class Labelled(IntEnum):
    @property
    def label(self) -> str:
        return self.name.lower()


class Status(Labelled):
    """A task's state. The numbers are those of `contentgen.v1.TaskStatus` and of the database."""

    NONE = 0
    PENDING = 1
    SUBMITTED = 2
    PROCESSING = 3
    COMPLETED = 4
    FAILED = 5
    TIMEOUT = 6
    CANCELLED = 7


OPEN = frozenset({Status.PENDING, Status.SUBMITTED, Status.PROCESSING})
RUNNING = frozenset({Status.SUBMITTED, Status.PROCESSING})
RETRYABLE = frozenset({Status.FAILED, Status.TIMEOUT})
ENDED = frozenset(Status) - OPEN - {Status.NONE}


class Move(IntEnum):
    SUBMIT = 1
    LEASE = 2
    START = 3
    COMPLETE = 4
    COMPLETE_LATE = 5
    FAIL = 6
    TIME_OUT = 7
    LOSE = 8
    RELEASE = 9
    RETRY = 10
    CANCEL = 11
    CANCEL_BY_FORCE = 12
    DEFER = 13
    UPDATE = 14


class Edge(NamedTuple):
    """An allowed transition: its letter in the documents, the move, its source and target, and who makes it."""

    letter: str
    move: Move
    source: Status
    target: Status
    mover: str


S = Status
EDGES: tuple[Edge, ...] = (
    Edge("a", Move.SUBMIT, S.NONE, S.PENDING, "SubmitTask, on commit"),
    Edge("b", Move.LEASE, S.PENDING, S.SUBMITTED, "the dispatcher leases it to a worker"),
    Edge("c", Move.CANCEL, S.PENDING, S.CANCELLED, "CancelTask, BulkCancelTasks, or its expire_time passed"),
    Edge("d", Move.START, S.SUBMITTED, S.PROCESSING, "the worker reports that its CLI has started"),
    Edge("e", Move.FAIL, S.SUBMITTED, S.FAILED, "the worker reports a failure"),
    Edge("e", Move.FAIL, S.PROCESSING, S.FAILED, "the worker reports a failure"),
    Edge("f", Move.LOSE, S.SUBMITTED, S.FAILED, "the lease expired, or was released after its CLI had started"),
    Edge("f", Move.LOSE, S.PROCESSING, S.FAILED, "the lease expired, or was released after its CLI had started"),
    Edge("g", Move.TIME_OUT, S.SUBMITTED, S.TIMEOUT, "the attempt took longer than the task's timeout"),
    Edge("g", Move.TIME_OUT, S.PROCESSING, S.TIMEOUT, "the attempt took longer than the task's timeout"),
    Edge("h", Move.COMPLETE, S.PROCESSING, S.COMPLETED, "the worker reports a result"),
    Edge("i", Move.RETRY, S.FAILED, S.PENDING, "an automatic retry, RetryTask, or at once after a lost worker"),
    Edge("i", Move.RETRY, S.TIMEOUT, S.PENDING, "an automatic retry, or RetryTask"),
    Edge("j", Move.RELEASE, S.SUBMITTED, S.PENDING, "the worker releases an unstarted lease, or never got it"),
    Edge("k", Move.CANCEL_BY_FORCE, S.SUBMITTED, S.CANCELLED, "CancelTask, BulkCancelTasks with force"),
    Edge("k", Move.CANCEL_BY_FORCE, S.PROCESSING, S.CANCELLED, "CancelTask, BulkCancelTasks with force"),
    Edge("l", Move.COMPLETE_LATE, S.PENDING, S.COMPLETED, "the latest lease's result, which came after it expired"),
    Edge("m", Move.DEFER, S.SUBMITTED, S.PENDING, "the worker reports that the CLI asked to come back later"),
    Edge("m", Move.DEFER, S.PROCESSING, S.PENDING, "the worker reports that the CLI asked to come back later"),
    Edge("n", Move.UPDATE, S.PENDING, S.PENDING, "UpdateTask"),
)
TRANSITIONS: dict[tuple[Status, Move], Status] = {(edge.source, edge.move): edge.target for edge in EDGES}
MOVES: frozenset[tuple[Status, Status]] = frozenset((edge.source, edge.target) for edge in EDGES)


def pair_of(source: int, target: int) -> int:
    """Returns a move as a number of two digits, which is quicker compared: the hash of an enum is a Python function."""
    return 10 * source + target


def move_of(pair: int) -> tuple[Status, Status]:
    """Returns the source and the target of a move that is given as such a number."""
    source, target = divmod(pair, 10)
    return Status(source), Status(target)


PAIRS = frozenset(pair_of(*move) for move in MOVES)


Reason: TypeAlias = tuple[Status, Status, str]
"""The source and the target of a move, and its reason in the history."""
SUBMITTED: Reason = (S.NONE, S.PENDING, "SUBMITTED")


class EventRow(NamedTuple):
    """One move of the history; `retry_count` of moves back to pending."""

    task_key: int
    previous_status: int
    status: int
    attempt: int
    fence: int | None
    worker_id: str | None
    reason: str
    message: str | None
    retry_count: int | None


class IllegalMove(Exception):
    """A move that the table does not contain: a defect of ours, never a caller's fault."""


def after(status: Status, move: Move) -> Status:
    """Returns the status after `move`. Raises IllegalMove."""
    target = TRANSITIONS.get((status, move))
    if target is None:
        raise IllegalMove(f"{move.name} from {status.name}")
    return target


# Whether another attempt follows one without a result, and after which wait.


INITIAL_BACKOFF_MS = 30_000
BACKOFF_MULTIPLIER = 2.0
MAX_BACKOFF_MS = 600_000
MAX_REFUSAL_WAIT = 60.0
MAX_REFUSALS = 10
WORKER_LOST = "WORKER_LOST"
TASK_TIMEOUT = "TASK_TIMEOUT"
NO_WORKER_ACCEPTS = "NO_WORKER_ACCEPTS"
CANCELLED_BY_CLIENT = "CANCELLED_BY_CLIENT"
DEFERRED = "DEFERRED"
EXPIRED = "EXPIRED"
DEFAULT_PAUSE, MIN_PAUSE, MAX_PAUSE = 30.0, 1.0, 86_400.0
"""Seconds that a deferral waits; a CLI's request beyond the bounds counts as the nearer bound."""
AUTO_RETRY, REQUEUED, RETRY_TASK = "AUTO_RETRY", "REQUEUED", "RETRY_TASK"
"""Reasons of moves back to pending: an automatic retry, a requeue after a loss, and RetryTask."""
FINAL_REASONS = frozenset(
    {"RESULT_TOO_LARGE", "INVALID_CREATOR_OPTIONS", CANCELLED_BY_CLIENT, EXPIRED, NO_WORKER_ACCEPTS}
)


def is_retryable(reason: str) -> bool:
    """Returns whether another attempt may help. Unknown reasons, of newer workers, count as retryable."""
    return reason not in FINAL_REASONS


def is_auto_retried(reason: str, *, auto_retry: bool, retry_count: int, max_retries: int) -> bool:
    return auto_retry and retry_count < max_retries and is_retryable(reason)


_MAX_EXPONENT = 100
"""The maximum number of a task's retries; keeps the power below a double's maximum."""


class RetryBackoff(NamedTuple):
    """The waits before a task's retries, as in its submit. None: the default."""

    initial_ms: int | None = None
    """Default: 30 s."""
    multiplier: float | None = None
    """1 or more. Default: 2."""
    max_ms: int | None = None
    """Default: 10 min, or `initial_ms` if that is longer."""

    def before(self, retry_count: int, jitter: float) -> float:
        """Returns the seconds before retry number `retry_count` (from 1): by default 30, 60, 120 … at most 600.

        `jitter` in [0, 1) changes it by up to a tenth, so that tasks which failed together don't retry together.
        """
        initial = INITIAL_BACKOFF_MS if self.initial_ms is None else self.initial_ms
        multiplier = BACKOFF_MULTIPLIER if self.multiplier is None else self.multiplier
        most = max(MAX_BACKOFF_MS, initial) if self.max_ms is None else self.max_ms
        return min(most, initial * multiplier ** min(retry_count - 1, _MAX_EXPONENT) * (0.9 + 0.2 * jitter)) / 1e3


DEFAULT_BACKOFF = RetryBackoff()


def deferral_wait(asked: float, jitter: float) -> float:
    """Returns the seconds before a deferred task is offered again: the CLI's request within bounds, and up to a tenth
    more.

    `jitter` in [0, 1): tasks that were deferred together don't come back together, and none too early.
    """
    return min(MAX_PAUSE, max(MIN_PAUSE, asked)) * (1 + 0.1 * jitter)


def refusal_wait(refusals: int) -> float | None:
    """Returns the seconds before a refused task is offered again: 1, 2, 4 … at most 60; None at the tenth refusal in a
    row.
    """
    if refusals >= MAX_REFUSALS:
        return None
    return min(MAX_REFUSAL_WAIT, 2.0 ** (refusals - 1))
