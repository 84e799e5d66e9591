"""A task as of a move of its history: what a watcher is told, rebuilt from the history and the present row."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler_svc.domain.lifecycle import RETRYABLE, RUNNING, Status
from scheduler_svc.domain.retry import AUTO_RETRY, REQUEUED
from scheduler_svc.domain.task import Task, TaskError, TaskEvent

_BY_ITSELF = frozenset({AUTO_RETRY, REQUEUED})


@dataclass(frozen=True, slots=True)
class TaskChange:
    """One move, with its task as of that move; numbers rise in the order of a task's moves."""

    number: int
    task: Task
    previous_status: Status
    event_time: datetime
    will_retry: bool


@dataclass(slots=True)
class _ReplayedState:
    """What a history says so far."""

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
    """The changes of these numbers; `history` is the task's whole one up to now, oldest first.

    As of the move are status, attempt, worker, lease, times, retries, error and content. What no history keeps is
    taken from `task`, the present: progress and `timeout_time` where the move's attempt still runs, and the details of
    the last error.
    """
    course = _ReplayedState()
    last_failure = max((event.seq for event in history if _is_failure(event)), default=0)
    for i, event in enumerate(history):
        course.apply(event)
        if event.seq not in numbers:
            continue
        then = history[i + 1] if i + 1 < len(history) else None
        will_retry = event.status in RETRYABLE and then is not None and then.reason in _BY_ITSELF
        as_of = _as_of(task, course, event, will_retry=will_retry, details=last_failure)
        yield TaskChange(event.seq, as_of, event.previous_status, event.event_time, will_retry)


def _is_failure(event: TaskEvent) -> bool:
    return event.status in RETRYABLE or event.status is Status.CANCELLED


def _as_of(task: Task, course: _ReplayedState, event: TaskEvent, *, will_retry: bool, details: int) -> Task:
    """`details`: the number of the failure whose details `task` has."""
    running = event.status in RUNNING
    still_runs = running and task.status in RUNNING and (task.attempt, task.fence) == (event.attempt, event.fence)
    open_ = running or event.status is Status.PENDING or will_retry
    return task._replace(
        status=event.status,
        attempt=course.attempt,
        worker_id=course.worker_id,
        submit_time=course.submit_time,
        start_time=course.start_time,
        end_time=None if open_ else event.event_time,
        timeout_time=task.timeout_time if still_runs else None,
        retry_count=course.retry_count,
        progress=task.progress if still_runs else None,
        error=_error(task.error, course.failure, details),
        content_id=task.content_id if event.status is Status.COMPLETED else 0,
        fence=event.fence if running else None,
    )


def _error(present: TaskError | None, failure: TaskEvent | None, details: int) -> TaskError | None:
    if failure is None:
        return None
    if present is not None and failure.seq == details and failure.reason == present.reason:
        return present
    return TaskError(failure.reason, failure.message)
