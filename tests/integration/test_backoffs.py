"""A task's own backoff: stored, applied and shown."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler_svc.domain.lifecycle import ENDED
from scheduler_svc.domain.retry import RetryBackoff
from scheduler_svc.domain.task import NewTask
from scheduler_svc.domain.task_filter import TaskFilter
from scheduler_svc.tasks.bulk import ago, delete_batch
from tests.harness.scheduling import FAILURE, RESULT, TIMEOUT, Scheduling, new_task


def waits(scheduling: Scheduling, task: NewTask) -> list[float]:
    """How long a task waits before each of its retries, in seconds."""
    key = scheduling.submit(task)[0].task_key
    delays = []
    for failure in (FAILURE, TIMEOUT, FAILURE):
        (ref,) = scheduling.claim()
        scheduling.end(ref, failure)
        ((delay,),) = scheduling.sql("SELECT due_time - now() FROM delayed WHERE task_key = :key", key=key)
        delays.append(delay / timedelta(seconds=1))
        scheduling.wait_is_over(key)
    scheduling.check()
    return delays


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (RetryBackoff(), [30, 60, 120]),
        (RetryBackoff(20_000, 3.0, 90_000), [20, 60, 90]),
        (RetryBackoff(multiplier=1.0), [30, 30, 30]),
    ],
    ids=["default", "all of it", "constant"],
)
def test_a_task_waits_by_its_submitted_backoff(
    scheduling: Scheduling, backoff: RetryBackoff, seconds: list[float]
) -> None:
    delays = waits(scheduling, new_task(backoff=backoff))
    for wait, middle in zip(delays, seconds, strict=True):
        assert 0.9 * middle - 5 < wait <= 1.1 * middle


def test_every_read_of_a_task_shows_its_backoff(scheduling: Scheduling) -> None:
    backoff = RetryBackoff(250, 1.5, 60_000)
    (submitted,) = scheduling.submit(new_task(backoff=backoff, request_id="once"))
    assert submitted.backoff == scheduling.task(submitted.task_key).backoff == backoff
    assert scheduling.tasks()[submitted.task_key].backoff == backoff
    assert scheduling.changes()[-1].task.backoff == backoff
    (ref,) = scheduling.claim()
    scheduling.end(ref, RESULT)
    ended = TaskFilter(statuses=ENDED)
    assert scheduling.run(lambda tx: delete_batch(tx, ended, ago(tx, timedelta(0)), 0, 1)).changed == 1
    (repeated,) = scheduling.submit(new_task(backoff=backoff, request_id="once"))
    assert (repeated.task_key, repeated.backoff) == (submitted.task_key, backoff)
