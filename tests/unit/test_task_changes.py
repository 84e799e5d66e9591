"""A task as of each move of its history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler_svc.domain.brief import Brief
from scheduler_svc.domain.change import TaskChange, changes
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import AttemptProgress, Task, TaskError, TaskEvent

S = Status
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def history(*moves: tuple[int, Status, int, str, int | None]) -> list[TaskEvent]:
    """Moves as minute, status, attempt, reason and retries; a lease's fence is ten times its attempt."""
    before = S.NONE
    events = []
    for seq, (minute, status, attempt, reason, retries) in enumerate(moves, 1):
        fence = 10 * attempt if attempt else None
        worker = f"w{attempt}" if attempt else ""
        events.append(TaskEvent(seq, 1, before, status, at(minute), attempt, fence, worker, reason, reason, retries))
        before = status
    return events


def present(**fields: Any) -> Task:
    task = Task(1, 1, Brief("a topic"), 5, True, S.PENDING, at(0), None, timedelta(minutes=9), 3, True, {}, "")
    return task._replace(**fields)


LIFE = history(
    (0, S.PENDING, 0, "SUBMITTED", None),
    (1, S.SUBMITTED, 1, "LEASED", None),
    (2, S.PROCESSING, 1, "STARTED", None),
    (3, S.FAILED, 1, "CREATOR_ERROR", None),
    (3, S.PENDING, 1, "AUTO_RETRY", 1),
    (5, S.SUBMITTED, 2, "LEASED", None),
    (6, S.FAILED, 2, "CREATOR_ERROR", None),
    (7, S.PENDING, 0, "RETRY_TASK", 2),
    (8, S.SUBMITTED, 3, "LEASED", None),
    (9, S.PROCESSING, 3, "STARTED", None),
)
ERROR = TaskError("CREATOR_ERROR", "CREATOR_ERROR", {"exit_code": "3"})
RUNNING = present(
    status=S.PROCESSING,
    attempt=3,
    worker_id="w3",
    fence=30,
    submit_time=at(8),
    start_time=at(9),
    timeout_time=at(17),
    retry_count=2,
    progress=AttemptProgress(50),
    error=ERROR,
)


def of(task: Task, events: list[TaskEvent]) -> list[TaskChange]:
    return list(changes(task, events, {event.seq for event in events}))


def test_a_task_as_of_its_last_move_is_the_present_task() -> None:
    assert of(RUNNING, LIFE)[-1] == TaskChange(10, RUNNING, S.SUBMITTED, at(9), will_retry=False)


def test_each_move_knows_its_attempt_and_the_times_up_to_then() -> None:
    attempts = [
        (change.task.attempt, change.task.worker_id, change.task.submit_time, change.task.start_time)
        for change in of(RUNNING, LIFE)
    ]
    assert attempts == [
        (0, "", None, None),
        (1, "w1", at(1), None),
        *[(1, "w1", at(1), at(2))] * 3,
        *[(2, "w2", at(5), None)] * 3,
        (3, "w3", at(8), None),
        (3, "w3", at(8), at(9)),
    ]


def test_only_a_failure_that_is_followed_by_itself_will_be_retried() -> None:
    task_changes = of(RUNNING, LIFE)
    assert [change.number for change in task_changes if change.will_retry] == [4]
    assert [(change.number, change.task.end_time) for change in task_changes if change.task.end_time] == [(7, at(6))]
    assert [change.task.retry_count for change in task_changes] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_details_of_an_error_are_known_of_the_last_one() -> None:
    errors = [change.task.error for change in of(RUNNING, LIFE)]
    without = TaskError("CREATOR_ERROR", "CREATOR_ERROR")
    assert errors == [None, None, None, *[without] * 3, *[ERROR] * 4]


def test_progress_lease_and_time_limit_are_of_the_attempt_that_runs() -> None:
    task_changes = of(RUNNING, LIFE)
    assert [change.number for change in task_changes if change.task.progress] == [9, 10]
    assert [change.number for change in task_changes if change.task.timeout_time] == [9, 10]
    assert [change.task.fence for change in task_changes] == [None, 10, 10, None, None, 20, None, None, 30, 30]


def test_a_completed_task_has_its_content_and_no_error() -> None:
    events = [*LIFE, TaskEvent(11, 1, S.PROCESSING, S.COMPLETED, at(10), 3, 30, "w3", "COMPLETED", "", None)]
    done = RUNNING._replace(
        status=S.COMPLETED, end_time=at(10), timeout_time=None, progress=None, error=None, fence=None, content_id=7
    )
    task_changes = of(done, events)
    assert task_changes[-1].task == done
    assert [change.task.content_id for change in task_changes] == [0] * 10 + [7]
    assert task_changes[6].task.error == TaskError("CREATOR_ERROR", "CREATOR_ERROR")
