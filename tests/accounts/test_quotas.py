"""Quotas of an account's submits, and the bound of the queue that all accounts share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler_svc.domain.errors import (
    AccountInactive,
    AccountQueueFull,
    DomainError,
    InvalidArgument,
    QueueFull,
    RequestIdConflict,
)
from scheduler_svc.domain.task import Brief, NewTask, Task
from scheduler_svc.history.work import fold_counts
from scheduler_svc.tasks.submit import SubmitItem
from tests.harness.scheduling import FAILURE, MAX_QUEUE, Scheduling, new_task

pytestmark = pytest.mark.integration

MAX_PENDING_TASKS = 5
IN_2096 = datetime(2096, 2, 29, tzinfo=UTC)


@pytest.fixture
def bounded(scheduling: Scheduling) -> int:
    return scheduling.make_account(max_pending_tasks=MAX_PENDING_TASKS)


def kinds(answers: list[tuple[Task, ...] | DomainError]) -> list[type]:
    return [type(answer) for answer in answers]


class TestMaxPendingTasks:
    def test_a_submit_over_it_is_refused_for_its_account_only(self, scheduling: Scheduling, bounded: int) -> None:
        scheduling.fill(bounded, MAX_PENDING_TASKS)
        with pytest.raises(AccountQueueFull) as refused:
            scheduling.fill(bounded, 1)
        assert refused.value.metadata == {"account_id": str(bounded)}
        assert "try again later" in refused.value.message
        scheduling.fill(1, 100)

    def test_max_pending_tasks_is_exact_within_a_group(self, scheduling: Scheduling, bounded: int) -> None:
        task = new_task(account_id=bounded)
        group = (
            SubmitItem((task,) * 3),
            SubmitItem((task,) * 3),
            SubmitItem((task, new_task())),
            SubmitItem((task,)),
            SubmitItem((task,)),
        )
        assert kinds(scheduling.submit_group(*group)) == [tuple, AccountQueueFull, tuple, tuple, AccountQueueFull]

    def test_only_waiting_tasks_count_and_a_retry_is_never_refused(self, scheduling: Scheduling, bounded: int) -> None:
        scheduling.fill(bounded, MAX_PENDING_TASKS, max_retries=1, auto_retry=False)
        ref, *_ = scheduling.claim(2)
        scheduling.end(ref, FAILURE)
        scheduling.fill(bounded, 2)
        scheduling.retry(ref.task_key)
        with pytest.raises(AccountQueueFull):
            scheduling.fill(bounded, 1)

    def test_scheduled_tasks_count_whatever_their_time(self, scheduling: Scheduling, bounded: int) -> None:
        scheduling.fill(bounded, MAX_PENDING_TASKS, schedule_time=IN_2096)
        with pytest.raises(AccountQueueFull):
            scheduling.fill(bounded, 1)

    def test_a_batch_larger_than_the_quota_is_refused_for_good(self, scheduling: Scheduling, bounded: int) -> None:
        with pytest.raises(AccountQueueFull, match="submit fewer at a time"):
            scheduling.fill(bounded, MAX_PENDING_TASKS + 1)

    def test_a_repeated_submit_does_not_count(self, scheduling: Scheduling, bounded: int) -> None:
        task = new_task(account_id=bounded)
        again = task._replace(request_id="r")
        first = scheduling.submit(again)
        scheduling.fill(bounded, MAX_PENDING_TASKS - 2)
        answers = scheduling.submit_group(
            SubmitItem((again, again)),
            SubmitItem((task._replace(request_id="s"),)),
            SubmitItem((task._replace(request_id="s"), again)),
            SubmitItem((task,)),
            SubmitItem((again._replace(brief=Brief("another")),)),
        )
        assert kinds(answers) == [tuple, tuple, tuple, AccountQueueFull, RequestIdConflict]
        assert answers[0] == (*first, *first)

    def test_a_new_quota_applies_to_later_submits(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, 3)
        scheduling.change_account(1, max_pending_tasks=2)
        with pytest.raises(AccountQueueFull):
            scheduling.fill(1, 1)
        scheduling.change_account(1, max_pending_tasks=0)
        scheduling.fill(1, 1)


class TestMaxPriority:
    def test_a_priority_above_max_priority_is_refused_and_named(self, scheduling: Scheduling) -> None:
        account_id = scheduling.make_account(max_priority=4)
        scheduling.fill(account_id, 1, priority=4)
        with pytest.raises(InvalidArgument) as refused:
            scheduling.fill(account_id, 1)
        text = f"priority: must be at most 4, the max_priority of account {account_id}, is 5"
        assert refused.value.message == text
        assert scheduling.submit_one(priority=10)

    def test_a_batch_names_each_priority_above_max_priority(self, scheduling: Scheduling) -> None:
        account_id = scheduling.make_account(max_priority=4)
        tasks = [new_task(account_id=account_id, priority=priority) for priority in (3, 9, 4, 5)]
        (answer,) = scheduling.submit_group(SubmitItem(tuple(tasks), batch=True))
        assert isinstance(answer, InvalidArgument)
        assert [violation.field for violation in answer.violations] == ["requests[1].priority", "requests[3].priority"]

    def test_earlier_submits_keep_their_priority(self, scheduling: Scheduling) -> None:
        (before,) = scheduling.submit(new_task(priority=9, request_id="r"))
        scheduling.change_account(1, max_priority=1)
        assert scheduling.submit(new_task(priority=9, request_id="r")) == [before]
        (ref,) = scheduling.claim()
        scheduling.end(ref, FAILURE)
        scheduling.retry(ref.task_key)
        assert scheduling.task(ref.task_key).priority == 9


class TestTheBoundOfTheQueue:
    def test_tasks_scheduled_for_later_years_refuse_no_other_account(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, MAX_QUEUE, schedule_time=IN_2096)
        other = scheduling.make_account()
        scheduling.fill(other, MAX_QUEUE)
        with pytest.raises(QueueFull):
            scheduling.fill(other, 1)

    def test_a_full_queue_accepts_tasks_scheduled_days_ahead(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, MAX_QUEUE)
        answers = scheduling.submit_group(
            SubmitItem((new_task(schedule_time=IN_2096),)),
            SubmitItem((new_task(),)),
            SubmitItem((new_task(), later(hours=1))),
        )
        assert kinds(answers) == [tuple, QueueFull, QueueFull]

    @pytest.mark.parametrize("days", [0, 1])
    def test_tasks_due_by_tomorrow_count(self, scheduling: Scheduling, days: int) -> None:
        scheduling.submit(*[new_task(schedule_time=end_of_day(days))] * MAX_QUEUE)
        with pytest.raises(QueueFull):
            scheduling.fill(1, 1)

    def test_a_scheduled_task_counts_once_its_day_is_tomorrow(self, scheduling: Scheduling) -> None:
        """Two days later, by the dates of the counts."""
        scheduling.submit(*[new_task(schedule_time=end_of_day(3))] * MAX_QUEUE)
        scheduling.fill(1, 1)
        scheduling.sql("UPDATE task_counts SET account_id = account_id + 2 WHERE account_id < 0")
        scheduling.sql("UPDATE count_deltas SET account_id = account_id + 2 WHERE account_id < 0")
        with pytest.raises(QueueFull):
            scheduling.fill(1, 1)

    def test_removed_tasks_no_longer_count(self, scheduling: Scheduling) -> None:
        keys = scheduling.fill(1, 3, schedule_time=IN_2096)
        scheduling.cancel(keys[0])
        scheduling.wait_is_over(keys[1])
        scheduling.run(fold_counts)
        scheduling.check()

    def test_a_task_refused_for_another_reason_does_not_count(self, scheduling: Scheduling) -> None:
        inactive = scheduling.make_account()
        scheduling.change_account(inactive, active=False)
        scheduling.fill(1, MAX_QUEUE - 1)
        answers = scheduling.submit_group(SubmitItem((new_task(account_id=inactive),)), SubmitItem((new_task(),)))
        assert kinds(answers) == [AccountInactive, tuple]

    def test_repeats_of_a_group_do_not_count(self, scheduling: Scheduling) -> None:
        scheduling.submit(new_task(request_id="r"))
        scheduling.fill(1, MAX_QUEUE - 2)
        again = SubmitItem((new_task(request_id="r"),))
        assert kinds(scheduling.submit_group(again, again, SubmitItem((new_task(),)))) == [tuple, tuple, tuple]


def later(**by: int) -> NewTask:
    return new_task(schedule_time=datetime.now(UTC) + timedelta(**by))


def end_of_day(days: int) -> datetime:
    """The last moment of the day (UTC) that many days from now."""
    return datetime.now(UTC).replace(hour=23, minute=59, second=59, microsecond=999999) + timedelta(days=days)
