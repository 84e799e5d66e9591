"""What an account's submits are held to, and what counts against the bound of the queue that all accounts share."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from scheduler_svc.application.leases.recover import fold_counts
from scheduler_svc.application.tasks.submit import Submit
from scheduler_svc.domain.brief import Brief
from scheduler_svc.domain.errors import (
    AccountInactive,
    AccountQueueFull,
    DomainError,
    InvalidArgument,
    QueueFull,
    RequestIdConflict,
)
from scheduler_svc.domain.queue_bound import day_of
from scheduler_svc.domain.task import NewTask, Task
from scheduler_svc.store.schema.migrate import MIGRATIONS, upgrade
from tests.integration.scheduling import FAILURE, MAX_QUEUE, Scheduling, new_task

MOST = 5
IN_2096 = datetime(2096, 2, 29, tzinfo=UTC)


@pytest.fixture
def bounded(scheduling: Scheduling) -> int:
    return scheduling.make_account(max_pending_tasks=MOST)


def kinds(answers: list[tuple[Task, ...] | DomainError]) -> list[type]:
    return [type(answer) for answer in answers]


class TestMaxPendingTasks:
    def test_a_submit_over_it_is_refused_and_one_of_another_account_is_not(
        self, scheduling: Scheduling, bounded: int
    ) -> None:
        scheduling.fill(bounded, MOST)
        with pytest.raises(AccountQueueFull) as refused:
            scheduling.fill(bounded, 1)
        assert refused.value.metadata == {"account_id": str(bounded)}
        assert "try again later" in refused.value.message
        scheduling.fill(1, 100)

    def test_it_is_exact_within_a_group(self, scheduling: Scheduling, bounded: int) -> None:
        one = new_task(account_id=bounded)
        group = Submit((one,) * 3), Submit((one,) * 3), Submit((one, new_task())), Submit((one,)), Submit((one,))
        assert kinds(scheduling.submit_group(*group)) == [tuple, AccountQueueFull, tuple, tuple, AccountQueueFull]

    def test_what_runs_or_has_ended_leaves_room_and_a_retry_is_never_refused(
        self, scheduling: Scheduling, bounded: int
    ) -> None:
        scheduling.fill(bounded, MOST, max_retries=1, auto_retry=False)
        ref, *_ = scheduling.claim(2)
        scheduling.end(ref, FAILURE)
        scheduling.fill(bounded, 2)
        scheduling.retry(ref.task_key)
        with pytest.raises(AccountQueueFull):
            scheduling.fill(bounded, 1)

    def test_what_is_scheduled_counts_however_late(self, scheduling: Scheduling, bounded: int) -> None:
        scheduling.fill(bounded, MOST, schedule_time=IN_2096)
        with pytest.raises(AccountQueueFull):
            scheduling.fill(bounded, 1)

    def test_a_batch_that_could_never_be_taken_is_told_so(self, scheduling: Scheduling, bounded: int) -> None:
        with pytest.raises(AccountQueueFull, match="submit fewer at a time"):
            scheduling.fill(bounded, MOST + 1)

    def test_a_repeat_is_answered_and_takes_no_room(self, scheduling: Scheduling, bounded: int) -> None:
        one = new_task(account_id=bounded)
        again = one._replace(request_id="r")
        first = scheduling.submit(again)
        scheduling.fill(bounded, MOST - 2)
        answers = scheduling.submit_group(
            Submit((again, again)),
            Submit((one._replace(request_id="s"),)),
            Submit((one._replace(request_id="s"), again)),
            Submit((one,)),
            Submit((again._replace(brief=Brief("another")),)),
        )
        assert kinds(answers) == [tuple, tuple, tuple, AccountQueueFull, RequestIdConflict]
        assert answers[0] == (*first, *first)

    def test_a_new_one_holds_for_later_submits(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, 3)
        scheduling.change_account(1, max_pending_tasks=2)
        with pytest.raises(AccountQueueFull):
            scheduling.fill(1, 1)
        scheduling.change_account(1, max_pending_tasks=0)
        scheduling.fill(1, 1)


class TestMaxPriority:
    def test_a_priority_above_it_is_refused_naming_it(self, scheduling: Scheduling) -> None:
        account_id = scheduling.make_account(max_priority=4)
        scheduling.fill(account_id, 1, priority=4)
        with pytest.raises(InvalidArgument, match=f"must be at most 4, the max_priority of account {account_id}, is 5"):
            scheduling.fill(account_id, 1)
        assert scheduling.submit_one(priority=10)

    def test_a_batch_names_each_that_is_above(self, scheduling: Scheduling) -> None:
        account_id = scheduling.make_account(max_priority=4)
        tasks = [new_task(account_id=account_id, priority=priority) for priority in (3, 9, 4, 5)]
        (answer,) = scheduling.submit_group(Submit(tuple(tasks), batch=True))
        assert isinstance(answer, InvalidArgument)
        assert [violation.field for violation in answer.violations] == ["requests[1].priority", "requests[3].priority"]

    def test_what_was_submitted_before_keeps_its_own_and_is_answered_again(self, scheduling: Scheduling) -> None:
        (before,) = scheduling.submit(new_task(priority=9, request_id="r"))
        scheduling.change_account(1, max_priority=1)
        assert scheduling.submit(new_task(priority=9, request_id="r")) == [before]
        (ref,) = scheduling.claim()
        scheduling.end(ref, FAILURE)
        scheduling.retry(ref.task_key)
        assert scheduling.task(ref.task_key).priority == 9


class TestTheBoundOfTheQueue:
    def test_what_one_account_schedules_for_later_years_refuses_nobody(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, MAX_QUEUE, schedule_time=IN_2096)
        other = scheduling.make_account()
        scheduling.fill(other, MAX_QUEUE)
        with pytest.raises(QueueFull):
            scheduling.fill(other, 1)

    def test_a_full_queue_still_takes_what_is_not_due_for_days(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, MAX_QUEUE)
        answers = scheduling.submit_group(
            Submit((new_task(schedule_time=IN_2096),)), Submit((new_task(),)), Submit((new_task(), later(hours=1)))
        )
        assert kinds(answers) == [tuple, QueueFull, QueueFull]

    @pytest.mark.parametrize("days", [0, 1])
    def test_what_is_due_by_tomorrow_counts(self, scheduling: Scheduling, days: int) -> None:
        scheduling.submit(*[new_task(schedule_time=end_of_day(days))] * MAX_QUEUE)
        with pytest.raises(QueueFull):
            scheduling.fill(1, 1)

    def test_it_counts_once_its_day_is_tomorrow(self, scheduling: Scheduling) -> None:
        """Two days later, as far as the counts can know."""
        scheduling.submit(*[new_task(schedule_time=end_of_day(3))] * MAX_QUEUE)
        scheduling.fill(1, 1)
        scheduling.sql("UPDATE task_counts SET account_id = account_id + 2 WHERE account_id < 0")
        scheduling.sql("UPDATE count_deltas SET account_id = account_id + 2 WHERE account_id < 0")
        with pytest.raises(QueueFull):
            scheduling.fill(1, 1)

    def test_what_is_taken_out_is_counted_no_more(self, scheduling: Scheduling) -> None:
        keys = scheduling.fill(1, 3, schedule_time=IN_2096)
        scheduling.cancel(keys[0])
        scheduling.wait_is_over(keys[1])
        scheduling.run(fold_counts)
        scheduling.check()

    def test_a_refusal_for_another_reason_takes_no_room(self, scheduling: Scheduling) -> None:
        inactive = scheduling.make_account()
        scheduling.change_account(inactive, active=False)
        scheduling.fill(1, MAX_QUEUE - 1)
        answers = scheduling.submit_group(Submit((new_task(account_id=inactive),)), Submit((new_task(),)))
        assert kinds(answers) == [AccountInactive, tuple]

    def test_repeats_of_a_group_take_no_room(self, scheduling: Scheduling) -> None:
        scheduling.submit(new_task(request_id="r"))
        scheduling.fill(1, MAX_QUEUE - 2)
        again = Submit((new_task(request_id="r"),))
        assert kinds(scheduling.submit_group(again, again, Submit((new_task(),)))) == [tuple, tuple, tuple]


def later(**by: int) -> NewTask:
    return new_task(schedule_time=datetime.now(UTC) + timedelta(**by))


def end_of_day(days: int) -> datetime:
    """The last moment of a day (UTC) so many days from now."""
    return datetime.now(UTC).replace(hour=23, minute=59, second=59, microsecond=999999) + timedelta(days=days)


def test_what_was_scheduled_before_the_upgrade_is_counted_by_its_day(empty_db_url: str, tmp_path: Path) -> None:
    older = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, older, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (older / "versions").glob("0*.py"):
        if file.name >= "0012":
            file.unlink()
    engine = sa.create_engine(empty_db_url, poolclass=sa.NullPool)
    upgrade(engine, migrations=older)
    delay = sa.text("""
        INSERT INTO delayed (task_key, priority, account_id, attempt, timeout_ms, due_time, cause)
        VALUES (:key, 5, 1, 1, 1000, :due_time, :cause)
    """)
    late, next_day = IN_2096 + timedelta(hours=23, minutes=59), IN_2096 + timedelta(days=1)
    with engine.begin() as connection:
        for key, (due_time, cause) in enumerate([(IN_2096, 1), (late, 1), (next_day, 1), (next_day, 2)]):
            connection.execute(delay, {"key": key, "due_time": due_time, "cause": cause})
    upgrade(engine)
    with engine.begin() as connection:
        counted = connection.execute(sa.text("SELECT account_id, kind, n FROM count_deltas")).fetchall()
    engine.dispose()
    assert sorted(map(tuple, counted)) == [(-day_of(next_day), 1, 1), (-day_of(IN_2096), 1, 2)]
