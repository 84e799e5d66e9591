"""HandleTimeouts, BulkCancelTasks, BulkRetryTasks, CleanupTasks: many tasks at once, batch by batch."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.errors import DomainError, NotFound, RequestIdConflict
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptStarted, Change, Outcome
from scheduler_svc.domain.lifecycle import RETRYABLE, Status
from scheduler_svc.domain.task import TaskFilter
from scheduler_svc.leases import recover
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.tasks import bulk as bulk_calls
from scheduler_svc.tasks import change as retrying
from scheduler_svc.tasks.bulk import Bulk
from scheduler_svc.tasks.rows import BatchResult
from scheduler_svc.tasks.submit import SubmitItem, SubmitWork
from tests.api.cases import NOTHING, OWN, WAITS, Bad, Good, of
from tests.harness.scheduling import FAILURE, RESULT, SETTINGS, TIMEOUT, Scheduling, later, new_task, overtaken

pytestmark = pytest.mark.integration


class RunBulk:
    """Runs methods of `Bulk` to their end."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments, **options: asyncio.run(getattr(self._bulk, method)(*arguments, **options))


@pytest.fixture
def bulk(calls: Calls) -> RunBulk:
    return RunBulk(Bulk(calls, SETTINGS))


@pytest.fixture
def other(scheduling: Scheduling) -> int:
    return scheduling.make_account()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recover, bulk_calls):
        monkeypatch.setattr(module, "MAX_BATCH", 2)
    monkeypatch.setattr(bulk_calls, "MAX_REQUESTS", 2)
    monkeypatch.setattr(bulk_calls, "MAX_COUNTED", 2)


def ended(scheduling: Scheduling, change: Change, **fields: object) -> int:
    """A task whose only attempt ended by `change`."""
    return scheduling.start_and_end(change, auto_retry=False, **fields)


class TestHandleTimeouts:
    def late(self, scheduling: Scheduling, count: int = 1, **fields: object) -> list[LeaseRef]:
        """Leases whose CLI has run for an hour."""
        scheduling.submit(*[new_task(**fields) for _ in range(count)])
        refs = scheduling.claim(count)
        for ref in refs:
            scheduling.report(ref, AttemptAccepted(), AttemptStarted())
        keys = [ref.task_key for ref in refs]
        scheduling.sql("UPDATE leases SET accept_time = now() - interval '1 h' WHERE task_key = ANY(:keys)", keys=keys)
        return refs

    @pytest.mark.parametrize("count", [1, 4, 5])
    def test_overdue_attempts_are_timed_out_batch_by_batch(
        self, scheduling: Scheduling, bulk: RunBulk, count: int
    ) -> None:
        in_time = scheduling.start()
        refs = self.late(scheduling, count, auto_retry=False)
        assert bulk.handle_timeouts(ALL) == count
        assert {scheduling.task(ref.task_key).status for ref in refs} == {Status.TIMEOUT}
        assert all(scheduling.barred(ref.task_key) for ref in refs)
        batches = [[lease_id for _, lease_id, _ in signals.cancelled] for signals in scheduling.signals]
        assert sorted(itertools.chain(*batches)) == sorted(ref.lease_id for ref in refs)
        assert max(map(len, batches)) <= 2
        assert scheduling.task(in_time.task_key).status is Status.PROCESSING
        assert bulk.handle_timeouts(ALL) == 0

    def test_only_tasks_of_the_account_are_timed_out(self, scheduling: Scheduling, bulk: RunBulk, other: int) -> None:
        (mine,) = self.late(scheduling, auto_retry=False)
        (theirs,) = self.late(scheduling, account_id=other)
        assert bulk.handle_timeouts(Scope.of(other)) == 1
        assert scheduling.path(theirs.task_key)[-2:] == ["timeout", "pending"], "it counts though it is retried"
        assert scheduling.task(mine.task_key).status is Status.PROCESSING
        assert bulk.handle_timeouts(Scope.of(1)) == 1
        assert scheduling.task(mine.task_key).status is Status.TIMEOUT

    def test_no_task_times_out_during_or_just_after_an_outage(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        self.late(scheduling)
        scheduling.sql("UPDATE reaper SET stamp = now() - interval '1 minute'")
        assert bulk.handle_timeouts(ALL) == 0
        assert scheduling.reap().guarded
        scheduling.no_gap()
        assert bulk.handle_timeouts(ALL) == 1

    def test_a_lease_that_no_slot_took_is_a_loss_and_not_counted(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        key = scheduling.submit_one()
        scheduling.claim()
        scheduling.sql("UPDATE leases SET claim_time = now() - interval '1 h'")
        assert bulk.handle_timeouts(ALL) == 0
        assert scheduling.path(key)[-2:] == ["failed", "pending"]


class TestBulkCancel:
    @pytest.mark.parametrize("count", [1, 4, 5])
    def test_waiting_tasks_are_cancelled_batch_by_batch(
        self, scheduling: Scheduling, bulk: RunBulk, count: int
    ) -> None:
        others = [scheduling.start(auto_retry=False).task_key, ended(scheduling, RESULT)]
        keys = [scheduling.submit_one(schedule_time=later() if i % 2 else None) for i in range(count)]
        before = [scheduling.task(key) for key in others]
        assert bulk.cancel(TaskFilter(), dry_run=True) == (count, 0)
        assert bulk.cancel(TaskFilter()) == (count, count)
        for key in keys:
            task = scheduling.task(key)
            assert (task.status, task.ended, scheduling.place(key)) == (Status.CANCELLED, True, "")
            assert task.error is not None
            assert task.error.reason == scheduling.events(key)[-1].reason == "CANCELLED_BY_CLIENT"
        assert max(len(signals.ended) for signals in scheduling.signals) <= 2
        assert sorted(itertools.chain(*(signals.ended for signals in scheduling.signals)))[-count:] == sorted(keys)
        assert [scheduling.task(key) for key in others] == before
        assert bulk.cancel(TaskFilter()) == (0, 0)

    def test_a_retry_that_waits_behind_its_revoked_lease_is_cancelled(
        self, scheduling: Scheduling, bulk: RunBulk
    ) -> None:
        ref = scheduling.time_out(scheduling.start())
        assert (scheduling.task(ref.task_key).status, scheduling.place(ref.task_key)) == (Status.PENDING, "delayed")
        assert bulk.cancel(TaskFilter(), force=True) == (1, 1)
        assert scheduling.task(ref.task_key).status is Status.CANCELLED

    def test_the_oldest_that_match_are_cancelled_up_to_the_limit(
        self, scheduling: Scheduling, bulk: RunBulk, other: int
    ) -> None:
        tea = [scheduling.submit_one(labels={"about": "tea"}) for _ in range(5)]
        kept = [scheduling.submit_one(), scheduling.submit_one(account_id=other, labels={"about": "tea"})]
        wanted = TaskFilter(Scope.of(1), labels={"about": "tea"})
        assert bulk.cancel(wanted, limit=3) == (3, 3)
        assert [scheduling.task(key).ended for key in tea] == [True, True, True, False, False]
        assert bulk.cancel(wanted, limit=3) == (2, 2)
        assert [scheduling.task(key).ended for key in kept] == [False, False]

    @pytest.mark.parametrize("force", [False, True])
    def test_tasks_that_another_session_holds_are_left_out(
        self, scheduling: Scheduling, bulk: RunBulk, monkeypatch: pytest.MonkeyPatch, force: bool
    ) -> None:
        """Once the lock has been waited for."""
        running = scheduling.start()
        held, free = scheduling.submit_one(), scheduling.submit_one()
        database, run = scheduling.database, scheduling.database.run
        monkeypatch.setattr(database, "run", lambda work: run(work, lock_timeout=0.05))
        assert bulk.cancel(TaskFilter(), force=force, dry_run=True) == (2 + force, 0)
        with scheduling.transaction() as tx:
            tx.tasks.lock([held])
            tx.leases.lock([running.task_key])
            assert bulk.cancel(TaskFilter(), force=force) == (2 + force, 1)
        assert [scheduling.task(key).ended for key in (held, free, running.task_key)] == [False, True, False]

    def test_a_claim_and_a_bulk_cancel_never_take_the_same_task(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        keys = scheduling.fill(1, 60)
        with ThreadPoolExecutor(2) as pool:
            claims = pool.submit(lambda: [scheduling.claim(1) for _ in range(20)])
            cancelled = sum(bulk.cancel(TaskFilter(), limit=3).changed for _ in range(10))
            claimed = sum(map(len, claims.result()))
        assert cancelled + claimed + len([key for key in keys if scheduling.place(key) == "ready"]) == 60

    def test_a_bulk_cancel_beside_reports_retries_and_cancels_loses_nothing(
        self, scheduling: Scheduling, bulk: RunBulk
    ) -> None:
        scheduling.fill(1, 60)
        refs = scheduling.claim(40)
        keys = [ref.task_key for ref in refs]
        for ref in refs:
            scheduling.report(ref, AttemptAccepted(), AttemptStarted())

        def move(n: int) -> None:
            with suppress(DomainError):
                if n % 3 == 0:
                    scheduling.end(refs[n], FAILURE)
                elif n % 3 == 1:
                    scheduling.cancel(keys[n], force=True)
                else:
                    scheduling.retry(keys[n - 2])

        with ThreadPoolExecutor(3) as pool:
            moves = [pool.submit(move, n) for n in range(len(refs))]
            for _ in range(10):
                bulk.cancel(TaskFilter(), force=True, limit=5)
            for future in moves:
                future.result()
        scheduling.check()
        left = bulk.cancel(TaskFilter(), force=True)
        assert left.matched == left.changed
        assert {task.status for task in scheduling.tasks().values()} == {Status.CANCELLED}


class TestBulkRetry:
    @pytest.mark.parametrize("count", [1, 4, 5])
    def test_failed_and_timed_out_tasks_are_pending_again(
        self, scheduling: Scheduling, bulk: RunBulk, count: int
    ) -> None:
        keys = [ended(scheduling, (FAILURE, TIMEOUT)[i % 2]) for i in range(count)]
        others = [ended(scheduling, RESULT), scheduling.cancel(scheduling.submit_one()).task_key]
        before = [scheduling.task(key) for key in others]
        assert bulk.retry(TaskFilter()) == (count, count)
        for key in keys:
            task = scheduling.task(key)
            assert (task.status, task.retry_count, task.ended) == (Status.PENDING, 1, False)
            assert scheduling.place(key) == "ready"
            event = scheduling.events(key)[-1]
            assert (event.reason, event.message) == ("RETRY_TASK", "retry 1 of 3")
        assert scheduling.signals[-1].ready
        assert [scheduling.task(key) for key in others] == before
        assert bulk.retry(TaskFilter()) == (0, 0)

    def test_bulk_retry_skips_tasks_without_retries_left(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        used = [ended(scheduling, FAILURE, max_retries=0) for _ in range(3)]
        key = ended(scheduling, FAILURE)
        assert bulk.retry(TaskFilter(), limit=1) == (1, 1)
        assert not scheduling.task(key).ended
        assert all(scheduling.task(used_key).ended for used_key in used)

    def test_a_reset_retries_those_too_whose_retries_are_used_up_and_counts_from_the_first(
        self, scheduling: Scheduling, bulk: RunBulk
    ) -> None:
        used = [ended(scheduling, FAILURE, max_retries=2) for _ in range(3)]
        scheduling.sql("UPDATE tasks SET retry_count = max_retries")
        never = ended(scheduling, FAILURE, max_retries=0)
        assert bulk.retry(TaskFilter(), dry_run=True) == (0, 0)
        assert bulk.retry(TaskFilter(), reset=True, dry_run=True) == (4, 0)
        assert bulk.retry(TaskFilter(), reset=True) == (4, 4)
        assert [scheduling.task(key).retry_count for key in (*used, never)] == [1, 1, 1, 0]
        assert scheduling.events(used[0])[-1].message == "retry 1 of 2"

    def test_only_tasks_of_the_named_state_are_retried(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        failed, timed_out = ended(scheduling, FAILURE), ended(scheduling, TIMEOUT)
        wanted = TaskFilter(statuses=frozenset({Status.TIMEOUT}))
        assert bulk.retry(wanted, dry_run=True) == (1, 0)
        assert bulk.retry(wanted) == (1, 1)
        assert [scheduling.task(key).ended for key in (failed, timed_out)] == [True, False]

    def test_retry_skips_tasks_locked_by_another_call(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        moving, free = ended(scheduling, FAILURE), ended(scheduling, FAILURE)
        with scheduling.transaction() as tx:
            tx.tasks.lock([moving])
            assert bulk.retry(TaskFilter()) == (2, 1)
        assert [scheduling.task(key).ended for key in (moving, free)] == [True, False]

    def test_a_revoked_lease_bars_its_task(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        ref = scheduling.time_out(scheduling.start(auto_retry=False))
        assert bulk.retry(TaskFilter()) == (1, 1)
        assert (scheduling.place(ref.task_key), scheduling.due().count) == ("delayed", 0)
        scheduling.end(ref, FAILURE)
        assert scheduling.due().count == 1

    def test_two_concurrent_calls_retry_each_task_once(self, scheduling: Scheduling) -> None:
        keys = [ended(scheduling, FAILURE) for _ in range(20)]

        def retry(_: int) -> int:
            """How many this call has retried, once none is left; those that others have locked are skipped."""
            changed, batch = 0, BatchResult(1, 0, None)
            while batch.matched:
                batch = scheduling.run(retrying.retry_batch, TaskFilter(statuses=RETRYABLE), 0, 7)
                changed += batch.changed
            return changed

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(retry, range(4))) == 20
        assert {scheduling.task(key).retry_count for key in keys} == {1}


def clean_up(bulk: RunBulk, days: int = 0, *, dry_run: bool = False) -> int:
    result = bulk.clean_up(TaskFilter(), timedelta(days=days), dry_run=dry_run)
    return int(result.matched if dry_run else result.changed)


class TestCleanup:
    """Tasks that ended a day ago ended a second earlier still."""

    def age(self, scheduling: Scheduling, days: int, *keys: int) -> None:
        scheduling.sql(
            "UPDATE tasks SET end_time = now() - make_interval(days => :days, secs => 1) WHERE task_key = ANY(:keys)",
            days=days,
            keys=list(keys),
        )

    def one_of_each(self, scheduling: Scheduling, **fields: object) -> list[int]:
        return [
            *(ended(scheduling, change, **fields) for change in (RESULT, FAILURE, TIMEOUT)),
            scheduling.cancel(scheduling.submit_one(**fields)).task_key,
        ]

    def remaining(self, scheduling: Scheduling) -> list[int]:
        return [row[0] for row in scheduling.sql("SELECT task_key FROM tasks ORDER BY task_key")]

    def test_only_tasks_of_the_named_state_are_deleted(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        *kept, _ = self.one_of_each(scheduling)  # the last one is cancelled
        wanted = TaskFilter(statuses=frozenset({Status.CANCELLED}))
        assert bulk.clean_up(wanted, timedelta(0), dry_run=True) == (1, 0)
        assert bulk.clean_up(wanted, timedelta(0)) == (1, 1)
        assert self.remaining(scheduling) == kept

    def test_ended_tasks_are_deleted_with_all_their_rows(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        labels = {"team": "a", 'quote "': "\\ 中"}
        kept = [
            scheduling.submit_one(labels=labels),
            scheduling.submit_one(schedule_time=later()),
            scheduling.start(priority=9).task_key,
        ]
        gone = [key for _ in range(2) for key in self.one_of_each(scheduling, labels=labels, priority=10)]
        assert clean_up(bulk, dry_run=True) == len(gone)
        assert self.remaining(scheduling) == sorted(kept + gone)
        assert clean_up(bulk) == len(gone)
        assert self.remaining(scheduling) == kept
        assert scheduling.sql("SELECT count(*) FROM task_labels") == [(2,)]
        assert scheduling.sql("SELECT count(*) FROM contents JOIN publish_pool USING (content_id)") == [(2,)]
        assert clean_up(bulk) == 0

    def test_only_tasks_that_ended_long_enough_ago_are_deleted(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        week, day, now = (self.one_of_each(scheduling) for _ in range(3))
        self.age(scheduling, 7, *week)
        self.age(scheduling, 1, *day)
        for days, left in ((365_000, week + day + now), (8, week + day + now), (7, day + now), (1, now), (0, [])):
            expected = len(self.remaining(scheduling)) - len(left)
            assert clean_up(bulk, days, dry_run=True) == expected
            assert clean_up(bulk, days) == expected
            assert self.remaining(scheduling) == sorted(left)

    def test_cleanup_skips_tasks_locked_by_another_call(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        moving, free = ended(scheduling, FAILURE), ended(scheduling, FAILURE)
        with scheduling.transaction() as tx:
            retrying.retry_task(tx, moving, reset_retry_count=False)
            assert clean_up(bulk) == 1
        assert self.remaining(scheduling) == [moving] != [free]

    def test_cleanup_keeps_tasks_that_are_still_being_stopped(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        ref = scheduling.revoked()
        for dry_run in (True, False):
            assert clean_up(bulk, dry_run=dry_run) == 0
        scheduling.end(ref, FAILURE)
        assert clean_up(bulk) == 1

    def test_a_late_report_on_a_cleaned_up_task_is_lost(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        ref = scheduling.start()
        scheduling.end(ref, RESULT)
        clean_up(bulk)
        assert scheduling.end(ref, RESULT) is Outcome.LEASE_LOST

    @pytest.mark.parametrize("unusual", [{}, {"schedule_time": later(-1), "priority": 9, "expire_time": later(2)}])
    @pytest.mark.parametrize("change", [RESULT, FAILURE, TIMEOUT])
    def test_a_repeated_request_id_is_answered_with_the_last_state_of_its_task(
        self, scheduling: Scheduling, bulk: RunBulk, change: Change, unusual: dict[str, Any]
    ) -> None:
        fields = {"request_id": "r", "labels": {"a": "b"}, "creator_options": {"c": "d"}, **unusual}
        before = scheduling.task(ended(scheduling, change, **fields))
        clean_up(bulk)
        request = new_task(auto_retry=False, **fields)
        for _ in range(2):
            assert scheduling.submit(request, new_task(), request)[::2] == [before, before]
        assert len(self.remaining(scheduling)) == 2
        with pytest.raises(RequestIdConflict) as refused:
            scheduling.submit(new_task(request_id="r", topic="another"))
        assert refused.value.metadata == {"task_id": before.task_id}
        with pytest.raises(NotFound):
            scheduling.task(before.task_key)

    def test_request_ids_are_forgotten_a_week_after_their_submit_and_only_with_their_task(
        self, scheduling: Scheduling, bulk: RunBulk
    ) -> None:
        for i in range(5):
            scheduling.cancel(scheduling.submit_one(request_id=f"gone {i}"))
        clean_up(bulk)
        scheduling.submit_one(request_id="there")
        scheduling.sql("UPDATE request_ids SET create_time = now() - interval '7 days'")
        scheduling.sql("UPDATE request_ids SET create_time = now() - interval '6 days' WHERE request_id = 'gone 0'")
        clean_up(bulk, dry_run=True)
        assert scheduling.sql("SELECT count(*) FROM request_ids") == [(6,)]
        clean_up(bulk)
        assert scheduling.sql("SELECT request_id FROM request_ids ORDER BY 1") == [("gone 0",), ("there",)]
        assert scheduling.submit(new_task(request_id="gone 1"))[0].status is Status.PENDING

    def test_a_request_id_that_answers_a_submit_is_not_deleted_meanwhile(
        self, scheduling: Scheduling, bulk: RunBulk
    ) -> None:
        key = scheduling.cancel(scheduling.submit_one(request_id="r")).task_key
        clean_up(bulk)
        scheduling.sql("UPDATE request_ids SET create_time = now() - interval '8 days'")
        with scheduling.transaction() as tx:
            (answer,) = SubmitWork(SETTINGS).run_group(tx, [SubmitItem((new_task(request_id="r"),))])
            clean_up(bulk)
        assert isinstance(answer, tuple)
        assert [task.task_key for task in answer] == [key]
        assert scheduling.sql("SELECT request_id FROM request_ids") == [("r",)]

    def test_request_ids_are_forgotten_from_where_the_batch_before_ended(
        self, scheduling: Scheduling, bulk: RunBulk
    ) -> None:
        for days in (10, 9, 8):
            scheduling.cancel(scheduling.submit_one(request_id=str(days)))
        clean_up(bulk)
        scheduling.sql("UPDATE request_ids SET create_time = now() - make_interval(days => request_id::integer)")
        (oldest,) = scheduling.run(lambda tx: tx.ended.forget_requests(None, 1))
        scheduling.run(lambda tx: tx.ended.forget_requests(oldest + timedelta(days=1.5), 10))
        assert scheduling.sql("SELECT request_id FROM request_ids") == [("9",)]

    def test_a_request_id_that_is_being_deleted_makes_a_new_task(self, scheduling: Scheduling, bulk: RunBulk) -> None:
        """The submit finds the id in use, and then deleted."""
        scheduling.cancel(scheduling.submit_one(request_id="r"))
        clean_up(bulk)
        scheduling.sql("UPDATE request_ids SET create_time = now() - interval '8 days'")
        key = overtaken(
            scheduling, lambda tx: tx.ended.forget_requests(None, 10), lambda: scheduling.submit_one(request_id="r")
        )
        assert scheduling.place(key) == "ready"


# What tests/api calls: requests that are answered, and those that are refused.
FILTER_CLASHES = ("filter.statuses[0]", "filter.account_id")
GOOD = [
    Good(
        "BulkCancelTasks",
        {"filter": {**of(account="pending"), "statuses": [WAITS]}, "dry_run": True},
        {"matched_count": 1, "changed_count": 0},
    ),
    Good(
        "BulkCancelTasks",
        {"filter": of(account="processing"), "force": True, "limit": 2_147_483_647},
        {"matched_count": 1, "changed_count": 1},
    ),
    Good("BulkCancelTasks", {"filter": of(account="processing")}, {"matched_count": 0, "changed_count": 0}),
    Good(
        "BulkRetryTasks",
        {**of(account="failed"), "statuses": ["TASK_STATUS_FAILED"], "limit": 2_147_483_647},
        {"retried_count": 1, "matched_count": 1, "changed_count": 1},
    ),
    Good(
        "BulkRetryTasks",
        {"filter": of(account="failed"), "dry_run": True},
        {"retried_count": 0, "matched_count": 1, "changed_count": 0},
    ),
    Good("BulkRetryTasks", {"account_id": NOTHING}, {"retried_count": 0, "matched_count": 0, "changed_count": 0}),
    Good(
        "CleanupTasks",
        {**of(account="cancelled"), "days": 0, "dry_run": True},
        {"deleted_count": 1, "matched_count": 1, "changed_count": 0},
    ),
    Good(
        "CleanupTasks",
        {"filter": {**of(account="cancelled"), "topic": "a"}, "days": 0, "limit": 5},
        {"deleted_count": 1, "matched_count": 1, "changed_count": 1},
    ),
    Good("CleanupTasks", of(account="cancelled"), {"deleted_count": 0, "matched_count": 0, "changed_count": 0}),
    Good("HandleTimeouts", {"account_id": OWN}, {"timeout_count": 0}),
]
BAD = [
    Bad("BulkRetryTasks", {"statuses": [WAITS, "TASK_STATUS_CANCELLED"]}, fields=("statuses[0]", "statuses[1]")),
    Bad("CleanupTasks", {"account_id": 1, "filter": {"account_id": 2, "statuses": [WAITS]}}, fields=FILTER_CLASHES),
    Bad("BulkRetryTasks", {"account_id": 1, "filter": {"account_id": 2, "statuses": [WAITS]}}, fields=FILTER_CLASHES),
    Bad(
        "BulkCancelTasks",
        {
            "filter": {"account_id": -1, "schedule_id": -1, "statuses": ["TASK_STATUS_PROCESSING"], "labels": {"": ""}},
            "limit": -1,
        },
        fields=("filter.statuses[0]", 'filter.labels[""]', "filter.schedule_id", "filter.account_id", "limit"),
    ),
    Bad("HandleTimeouts", {"account_id": -1}, fields=("account_id",)),
]
