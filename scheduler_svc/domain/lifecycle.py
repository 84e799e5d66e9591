"""The state machine of a task: one table of transitions, each with its letter.

`docs/state-machine.md` explains the letters. The database refuses every other transition by a CHECK on its history,
generated from the same table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Status(IntEnum):
    """A task's state. The numbers are those of `contentgen.v1.TaskStatus` and of the database."""

    NONE = 0
    PENDING = 1
    SUBMITTED = 2
    PROCESSING = 3
    COMPLETED = 4
    FAILED = 5
    TIMEOUT = 6
    CANCELLED = 7

    @property
    def label(self) -> str:
        return self.name.lower()


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


class IllegalMove(Exception):
    """A move that the table does not contain: a defect of ours, never a caller's fault."""


def after(status: Status, move: Move) -> Status:
    """Returns the status after `move`. Raises IllegalMove."""
    target = TRANSITIONS.get((status, move))
    if target is None:
        raise IllegalMove(f"{move.name} from {status.name}")
    return target
