"""What readers of the history get: up to which move all are settled, and a task as of one move.

A move is settled once it is committed and visible, or never to come. Numbers are drawn in the order of each task's
moves, but committed in any order. A snapshot reads the last number drawn, and then which transactions that have drawn
one still run: whoever drew a number up to that one is among them. Once none of these runs, all those numbers are
settled. Transactions that draw none are nobody's concern. The ids of transactions give no such order: a transaction may
have its id long before it locks the task that it moves.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain.lifecycle import AUTO_RETRY, REQUEUED, RETRYABLE, RUNNING, Status
from scheduler_svc.domain.task import Task, TaskError, TaskEvent


class Snapshot(NamedTuple):
    """The last number drawn, and then the transactions that have drawn any and still run."""

    last: int
    drawers: frozenset[str]


class Watermark:
    """Keeps the one snapshot that has not settled yet."""

    def __init__(self) -> None:
        self._unsettled: Snapshot | None = None
        self.awaited: frozenset[str] = frozenset()
        """The transactions for which it waits."""

    def settled(self, snapshot: Snapshot) -> int | None:
        """Returns the highest number that this snapshot shows to be settled, or None.

        A snapshot that does not settle its own last number is kept until a later one does: under load some transaction
        always draws, but those that drew before a given snapshot end.
        """
        if not snapshot.drawers:
            self._unsettled = None
            return snapshot.last
        kept, self._unsettled = self._unsettled or snapshot, snapshot
        self.awaited = kept.drawers & snapshot.drawers
        if not self.awaited:
            return kept.last
        self._unsettled = kept
        return None


# A task as of one move of its history, as watchers get it: rebuilt from the history and the present row.


_AUTOMATIC = frozenset({AUTO_RETRY, REQUEUED})


@dataclass(frozen=True, slots=True)
class TaskChange:
    """One move, and the task as of it. Numbers rise in the order of a task's moves."""

    number: int
    task: Task
    previous_status: Status
    event_time: datetime
    will_retry: bool


@dataclass(slots=True)
class _ReplayedState:
    attempt: int = 0
    worker_id: str = ""
    submit_time: datetime | None = None
    start_time: datetime | None = None
    retry_count: int = 0
    failure: TaskEvent | None = None

    def apply(self, event: TaskEvent) -> None:
        match event.status:
            case Status.PENDING:
                self.retry_count = event.retry_count or 0
            case Status.SUBMITTED:
                self.attempt, self.worker_id = event.attempt, event.worker_id
                self.submit_time, self.start_time = event.event_time, None
            case Status.PROCESSING:
                self.start_time = event.event_time
            case Status.COMPLETED:
                self.start_time = self.start_time or event.event_time
                self.failure = None
            case _:
                self.failure = event


def changes(task: Task, history: Sequence[TaskEvent], numbers: Container[int]) -> Iterator[TaskChange]:
    """Yields the changes with these numbers; `history` is the task's whole history, oldest first.

    Status, attempt, worker, lease, times, retries, error and content are as of the move. What no history keeps comes
    from `task`, the present state: progress and `timeout_time` if the move's attempt still runs, and the last error's
    details.
    """
    state = _ReplayedState()
    last_failure = max((event.seq for event in history if _is_failure(event)), default=0)
    for i, event in enumerate(history):
        state.apply(event)
        if event.seq not in numbers:
            continue
        following = history[i + 1] if i + 1 < len(history) else None
        will_retry = event.status in RETRYABLE and following is not None and following.reason in _AUTOMATIC
        as_of = _as_of(task, state, event, will_retry=will_retry, details=last_failure)
        yield TaskChange(event.seq, as_of, event.previous_status, event.event_time, will_retry)


def _is_failure(event: TaskEvent) -> bool:
    return event.status in RETRYABLE or event.status is Status.CANCELLED


def _as_of(task: Task, state: _ReplayedState, event: TaskEvent, *, will_retry: bool, details: int) -> Task:
    """`details`: the number of the failure whose details `task` has."""
    running = event.status in RUNNING
    still_runs = running and task.status in RUNNING and (task.attempt, task.fence) == (event.attempt, event.fence)
    open_ = running or event.status is Status.PENDING or will_retry
    return task._replace(
        status=event.status,
        attempt=state.attempt,
        worker_id=state.worker_id,
        submit_time=state.submit_time,
        start_time=state.start_time,
        end_time=None if open_ else event.event_time,
        timeout_time=task.timeout_time if still_runs else None,
        retry_count=state.retry_count,
        progress=task.progress if still_runs else None,
        error=_error(task.error, state.failure, details),
        content_id=task.content_id if event.status is Status.COMPLETED else 0,
        fence=event.fence if running else None,
    )


def _error(present: TaskError | None, failure: TaskEvent | None, details: int) -> TaskError | None:
    if failure is None:
        return None
    if present is not None and failure.seq == details and failure.reason == present.reason:
        return present
    return TaskError(failure.reason, failure.message)
