"""Submits with a `unique_key`: of an account's open tasks one has it, whoever submits and retries meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from scheduler_svc.domain.errors import DomainError, QueueFull, UniqueKeyInUse
from scheduler_svc.domain.lifecycle import ENDED, RETRYABLE, Status
from scheduler_svc.domain.task import ExistingTask, Task, TaskFilter
from scheduler_svc.tasks import bulk as cleanup
from scheduler_svc.tasks.change import retry_batch
from scheduler_svc.tasks.submit import SubmitItem, SubmitWork
from scheduler_svc.transactions import Tx
from tests.harness.cluster import Databases
from tests.harness.scheduling import FAILURE, RESULT, SETTINGS, Scheduling, later, new_task, overtaken, sent

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def unique(**fields: Any) -> Any:
    return new_task(**{"unique_key": "news", **fields})


def submit(scheduling: Scheduling, **fields: Any) -> Task:
    (task,) = scheduling.submit(unique(**fields))
    scheduling.check()
    return task


def age(scheduling: Scheduling, task: Task, by: timedelta) -> None:
    """As if it had been submitted so much earlier."""
    scheduling.sql("UPDATE tasks SET create_time = create_time - :by WHERE task_key = :key", by=by, key=task.task_key)
    scheduling.sql("UPDATE unique_keys SET until = until - :by WHERE task_key = :key", by=by, key=task.task_key)


def fail(scheduling: Scheduling, **fields: Any) -> Task:
    """A task with the key that has failed."""
    return scheduling.task(scheduling.start_and_end(FAILURE, unique_key="news", auto_retry=False, **fields))


def clean_up(scheduling: Scheduling, until: datetime | None = None) -> None:
    """Deletes what has ended, or what had ended by then."""
    scheduling.run(cleanup.delete_batch, TaskFilter(statuses=ENDED), until or later(24), 0, 100)


def retry_all(scheduling: Scheduling) -> int:
    """How many failed tasks a bulk call retries."""
    return int(scheduling.run(retry_batch, TaskFilter(statuses=RETRYABLE), 0, 100).changed)


def are_existing(tasks: Sequence[Task] | DomainError) -> list[bool]:
    assert not isinstance(tasks, DomainError)
    return [isinstance(task, ExistingTask) for task in tasks]


def test_an_open_task_is_returned_whatever_else_the_submit_says(scheduling: Scheduling) -> None:
    first = submit(scheduling, unique_for=HOUR, topic="of the first")
    assert (first.unique_key, first.unique_for) == ("news", HOUR)
    assert scheduling.task(first.task_key) == first
    second = submit(scheduling, topic="another", priority=9)
    assert isinstance(second, ExistingTask)
    assert not isinstance(first, ExistingTask)
    assert second == first
    assert len(scheduling.tasks()) == 1
    scheduling.claim()
    assert submit(scheduling).status is Status.SUBMITTED


def test_keys_differ_by_account_and_letter(scheduling: Scheduling) -> None:
    account = scheduling.make_account()
    tasks = [submit(scheduling, **fields) for fields in ({}, {"account_id": account}, {"unique_key": "News"})]
    assert len({task.task_key for task in tasks}) == 3


@pytest.mark.parametrize("change", [RESULT, FAILURE])
def test_an_ended_task_keeps_its_key_as_long_as_it_said(scheduling: Scheduling, change: Any) -> None:
    ended = scheduling.task(scheduling.start_and_end(change, unique_key="news", unique_for=HOUR, auto_retry=False))
    assert submit(scheduling) == ended
    age(scheduling, ended, HOUR)
    second = submit(scheduling)
    assert second.task_key != ended.task_key
    assert submit(scheduling).task_key == second.task_key


def test_without_a_length_the_key_is_free_once_the_task_has_ended(scheduling: Scheduling) -> None:
    first = submit(scheduling)
    scheduling.cancel(first.task_key)
    assert submit(scheduling).task_key != first.task_key


def test_an_old_task_that_is_open_keeps_its_key(scheduling: Scheduling) -> None:
    first = submit(scheduling, unique_for=HOUR, schedule_time=later(24))
    age(scheduling, first, DAY)
    assert submit(scheduling).task_key == first.task_key
    scheduling.wait_is_over(first.task_key)
    (ref,) = scheduling.claim()
    scheduling.lose(ref)
    assert submit(scheduling).task_key == first.task_key


def test_of_two_in_one_batch_the_first_is_stored(scheduling: Scheduling) -> None:
    batch = [unique(topic="a"), new_task(), unique(topic="b"), unique(unique_key="other")]
    answers = scheduling.submit_group(SubmitItem(tuple(batch), batch=True), SubmitItem((unique(topic="c"),)))
    first, second = answers
    assert not isinstance(first, DomainError)
    assert not isinstance(second, DomainError)
    assert are_existing(first) == [False, False, True, False]
    assert are_existing(second) == [True]
    assert first[0].brief.topic == first[2].brief.topic == second[0].brief.topic == "a"
    assert len(scheduling.tasks()) == 3


def test_two_in_one_batch_after_one_that_has_ended(scheduling: Scheduling) -> None:
    before = fail(scheduling)
    tasks = scheduling.submit(unique(topic="a"), unique(topic="b"))
    assert are_existing(tasks) == [False, True]
    assert tasks[0].task_key == tasks[1].task_key != before.task_key


class TestWithRequestIds:
    def test_a_known_request_id_comes_first(self, scheduling: Scheduling) -> None:
        first = submit(scheduling, request_id="r")
        scheduling.cancel(first.task_key)
        second = submit(scheduling)
        again = submit(scheduling, request_id="r")
        assert again.task_key == first.task_key != second.task_key

    def test_a_new_one_that_created_nothing_is_not_remembered(self, scheduling: Scheduling) -> None:
        first = submit(scheduling)
        assert submit(scheduling, request_id="r").task_key == first.task_key
        assert scheduling.sql("SELECT * FROM request_ids") == []
        assert submit(scheduling, request_id="r", topic="another payload").task_key == first.task_key
        scheduling.cancel(first.task_key)
        second = submit(scheduling, request_id="r")
        assert second.task_key != first.task_key
        assert submit(scheduling, request_id="r").task_key == second.task_key

    def test_the_same_of_both_in_one_group(self, scheduling: Scheduling) -> None:
        first = submit(scheduling)
        item = SubmitItem((unique(request_id="r"),))
        answers = scheduling.submit_group(item, item)
        assert [are_existing(answer) for answer in answers] == [[True], [True]]
        assert {task.task_key for answer in answers for task in answer} == {first.task_key}  # type: ignore[union-attr]

    def test_a_repeat_after_the_clean_up_has_the_key(self, scheduling: Scheduling) -> None:
        first = submit(scheduling, request_id="r", unique_for=HOUR)
        scheduling.cancel(first.task_key)
        last = scheduling.task(first.task_key)
        clean_up(scheduling)
        assert submit(scheduling, request_id="r", unique_for=HOUR) == last


def test_deleting_the_task_frees_its_key(scheduling: Scheduling) -> None:
    first = submit(scheduling, unique_for=DAY)
    scheduling.cancel(first.task_key)
    clean_up(scheduling)
    assert scheduling.sql("SELECT * FROM unique_keys") == []
    assert submit(scheduling).task_key != first.task_key


def test_deleting_a_task_that_lost_its_key_leaves_it_to_the_other(scheduling: Scheduling) -> None:
    fail(scheduling)
    second = submit(scheduling)
    clean_up(scheduling)
    scheduling.check()
    assert submit(scheduling).task_key == second.task_key


def test_a_key_that_a_deleted_task_left_behind_is_free(scheduling: Scheduling) -> None:
    """A replica of the version before deletes tasks, and knows no keys."""
    first = submit(scheduling, unique_for=DAY)
    scheduling.cancel(first.task_key)
    ((row),) = scheduling.sql("SELECT * FROM unique_keys")
    clean_up(scheduling)
    insert = "INSERT INTO unique_keys VALUES (:account_id, :unique_key, :task_key, :until)"
    scheduling.sql(insert, **row._mapping)
    assert not isinstance(submit(scheduling), ExistingTask)


def test_a_full_queue_refuses_no_submit_that_creates_nothing(databases: Databases, template: str) -> None:
    with databases.lent(template) as url:
        scheduling = Scheduling(url, max_queue=1)
        first = submit(scheduling)
        assert submit(scheduling).task_key == first.task_key
        with pytest.raises(QueueFull):
            scheduling.submit(unique(unique_key="other"))
        scheduling.claim()
        both = [unique(unique_key="other"), unique(unique_key="other"), unique()]
        assert are_existing(scheduling.submit(*both)) == [False, True, True]
        scheduling.check()
        scheduling.close()


class TestRetries:
    def test_a_retried_task_has_its_key_again(self, scheduling: Scheduling) -> None:
        failed = fail(scheduling)
        scheduling.retry(failed.task_key)
        assert submit(scheduling).task_key == failed.task_key

    def test_it_takes_it_back_from_one_that_has_ended(self, scheduling: Scheduling) -> None:
        failed = fail(scheduling)
        second = submit(scheduling, unique_for=HOUR)
        scheduling.cancel(second.task_key)
        scheduling.retry(failed.task_key)
        scheduling.check()
        assert submit(scheduling).task_key == failed.task_key

    def test_it_takes_it_back_from_one_that_was_deleted(self, scheduling: Scheduling) -> None:
        failed = fail(scheduling)
        second = submit(scheduling)
        scheduling.cancel(second.task_key)
        scheduling.sql("UPDATE tasks SET end_time = end_time - interval '1 day' WHERE status = 7")
        clean_up(scheduling, later(-1))
        scheduling.retry(failed.task_key)
        scheduling.check()
        assert submit(scheduling).task_key == failed.task_key

    def test_it_is_refused_while_another_one_is_open(self, scheduling: Scheduling) -> None:
        failed = fail(scheduling)
        second = submit(scheduling)
        with pytest.raises(UniqueKeyInUse) as refusal:
            scheduling.retry(failed.task_key, reset=True)
        assert refusal.value.metadata == {"task_id": second.task_id}
        assert retry_all(scheduling) == 0
        assert scheduling.task(failed.task_key) == failed

    def test_of_two_failed_tasks_a_bulk_call_retries_one(self, scheduling: Scheduling) -> None:
        tasks = [fail(scheduling), fail(scheduling)]
        scheduling.start_and_end(FAILURE, auto_retry=False)
        assert retry_all(scheduling) == 2
        scheduling.check()
        assert {scheduling.task(task.task_key).status for task in tasks} == {Status.PENDING, Status.FAILED}

    def test_an_automatic_retry_never_lets_go_of_it(self, scheduling: Scheduling) -> None:
        key = scheduling.start_and_end(FAILURE, unique_key="news")
        assert submit(scheduling).task_key == key


class TestConcurrently:
    def test_one_of_many_submits_creates_the_task(self, scheduling: Scheduling) -> None:
        """Each with a committer of its own, as replicas have, and several keys in opposite orders."""
        names = [f"key {number}" for number in range(8)]
        works = [SubmitWork(SETTINGS) for _ in range(6)]

        def run(i: int) -> list[int]:
            order = names if i % 2 else names[::-1]
            (answer,) = scheduling.run(
                works[i].run_group, [SubmitItem(tuple(unique(unique_key=name) for name in order), batch=True)]
            )
            assert isinstance(answer, tuple)
            return sorted(task.task_key for task in answer)

        for turn in range(10):
            with ThreadPoolExecutor(len(works)) as threads:
                answers = list(threads.map(run, range(len(works))))
            assert len(set(map(tuple, answers))) == 1, turn
            for key in answers[0]:
                scheduling.cancel(key)

    def test_submits_and_retries_and_cancels(self, scheduling: Scheduling) -> None:
        failed = [fail(scheduling) for _ in range(3)]

        def submits(_: int) -> None:
            work = SubmitWork(SETTINGS)
            for _turn in range(20):
                (answer,) = scheduling.run(work.run_group, [SubmitItem((unique(),))])
                assert isinstance(answer, tuple)
                (task,) = answer
                with suppress(DomainError):
                    scheduling.cancel(task.task_key)

        def retries(i: int) -> None:
            for _turn in range(20):
                with suppress(DomainError):
                    scheduling.retry(failed[i].task_key, reset=True)

        with ThreadPoolExecutor(5) as threads:
            for done in [
                *(threads.submit(submits, i) for i in range(2)),
                *(threads.submit(retries, i) for i in range(3)),
            ]:
                done.result(60)

    def test_a_submit_waits_for_the_one_that_is_about_to_take_the_key(self, scheduling: Scheduling) -> None:
        first: list[Any] = []

        def submits(tx: Tx) -> None:
            first.extend(SubmitWork(SETTINGS).run_group(tx, [SubmitItem((unique(),))]))

        (second,) = overtaken(scheduling, submits, lambda: scheduling.submit(unique()))
        assert first == [(second,)]


def test_a_submit_without_a_key_runs_no_further_statement(db_url: str) -> None:
    # its session has prepared no statement: their text is sent
    with closing(Scheduling(db_url)) as scheduling, sent(scheduling.engine) as ran:
        scheduling.submit(new_task(request_id="r"))
        plain = list(ran)
        scheduling.submit(unique())
    assert any("unique_keys" in statement for statement in ran[len(plain) :])
    assert not [statement for statement in plain if "unique_keys" in statement or "expire_time" in statement]
