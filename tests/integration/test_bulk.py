"""HandleTimeouts, BulkRetryTasks: many tasks at once, batch by batch."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import pytest

from scheduler_svc.application import recover, steer
from scheduler_svc.application.accounts import create_account
from scheduler_svc.application.bulk import Bulk
from scheduler_svc.application.calls import Calls
from scheduler_svc.application.records import Batch
from scheduler_svc.application.recover import ReaperSettings
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Accepted, Change, Processing
from scheduler_svc.domain.lifecycle import RETRYABLE, Status
from tests.integration.scheduling import FAILURE, HEARTBEAT, MAX_LOSSES, RESULT, TIMEOUT, TTL, Scheduling, new_task

R = TypeVar("R")
Run = Callable[[Callable[[Bulk], Awaitable[R]]], R]


@pytest.fixture
def bulk(scheduling: Scheduling) -> Iterator[Callable[[Callable[[Bulk], Awaitable[int]]], int]]:
    """Runs a method of `Bulk` to its end."""
    with closing(Calls(scheduling.database, 1)) as calls:
        made = Bulk(calls, ReaperSettings(TTL, HEARTBEAT, MAX_LOSSES))

        async def run(call: Callable[[Bulk], Awaitable[int]]) -> int:
            return await call(made)

        yield lambda call: asyncio.run(run(call))


@pytest.fixture
def other(scheduling: Scheduling) -> int:
    account_id: int = scheduling.run(create_account, "two", 0, 1.0).account_id
    return account_id


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recover, steer):
        monkeypatch.setattr(module, "BATCH", 2)


class TestHandleTimeouts:
    def late(self, scheduling: Scheduling, count: int = 1, **fields: object) -> list[LeaseRef]:
        """Leases whose CLI has run for an hour."""
        scheduling.submit(*[new_task(**fields) for _ in range(count)])
        refs = scheduling.claim(count)
        for ref in refs:
            scheduling.report(ref, Accepted(), Processing())
        keys = [ref.task_key for ref in refs]
        scheduling.sql("UPDATE leases SET accept_time = now() - interval '1 h' WHERE task_key = ANY(:keys)", keys=keys)
        return refs

    @pytest.mark.parametrize("count", [1, 4, 5])
    def test_all_that_ran_too_long_are_timed_out_batch_by_batch(
        self, scheduling: Scheduling, bulk: Run[int], small_batches: None, count: int
    ) -> None:
        in_time = scheduling.start()
        refs = self.late(scheduling, count, auto_retry=False)
        assert bulk(lambda it: it.handle_timeouts(0)) == count
        assert {scheduling.task(ref.task_key).status for ref in refs} == {Status.TIMEOUT}
        assert all(scheduling.barred(ref.task_key) for ref in refs)
        told = [[lease_id for _, lease_id, _ in signals.cancelled] for signals in scheduling.told]
        assert sorted(itertools.chain(*told)) == sorted(ref.lease_id for ref in refs)
        assert max(map(len, told)) <= 2
        assert scheduling.task(in_time.task_key).status is Status.PROCESSING
        assert bulk(lambda it: it.handle_timeouts(0)) == 0

    def test_what_is_retried_counts_too(self, scheduling: Scheduling, bulk: Run[int]) -> None:
        (ref,) = self.late(scheduling)
        assert bulk(lambda it: it.handle_timeouts(0)) == 1
        assert scheduling.path(ref.task_key)[-2:] == ["timeout", "pending"]

    def test_only_of_the_account(self, scheduling: Scheduling, bulk: Run[int], other: int) -> None:
        (mine,) = self.late(scheduling, auto_retry=False)
        (theirs,) = self.late(scheduling, auto_retry=False, account_id=other)
        assert bulk(lambda it: it.handle_timeouts(other)) == 1
        assert scheduling.task(theirs.task_key).status is Status.TIMEOUT
        assert scheduling.task(mine.task_key).status is Status.PROCESSING
        assert bulk(lambda it: it.handle_timeouts(1)) == 1
        assert scheduling.task(mine.task_key).status is Status.TIMEOUT

    def test_nothing_times_out_in_the_lee_of_an_outage(self, scheduling: Scheduling, bulk: Run[int]) -> None:
        self.late(scheduling)
        scheduling.sql("UPDATE reaper SET stamp = now() - interval '1 minute'")
        assert bulk(lambda it: it.handle_timeouts(0)) == 0
        assert scheduling.reap().guarded
        scheduling.no_gap()
        assert bulk(lambda it: it.handle_timeouts(0)) == 1

    def test_a_lease_that_ran_out_is_a_loss_and_no_timeout(self, scheduling: Scheduling, bulk: Run[int]) -> None:
        (ref,) = self.late(scheduling)
        scheduling.run_out(ref)
        assert bulk(lambda it: it.handle_timeouts(0)) == 0
        assert scheduling.reap().expired == 1
        assert scheduling.path(ref.task_key)[-2:] == ["failed", "pending"]

    def test_a_lease_that_no_slot_took_is_a_loss_and_not_counted(self, scheduling: Scheduling, bulk: Run[int]) -> None:
        key = scheduling.submit_one()
        scheduling.claim()
        scheduling.sql("UPDATE leases SET claim_time = now() - interval '1 h'")
        assert bulk(lambda it: it.handle_timeouts(0)) == 0
        assert scheduling.path(key)[-2:] == ["failed", "pending"]


class TestBulkRetry:
    def ended(self, scheduling: Scheduling, change: Change, **fields: object) -> int:
        ref = scheduling.start(auto_retry=False, **fields)
        scheduling.end(ref, change)
        return ref.task_key

    @pytest.mark.parametrize("count", [1, 4, 5])
    def test_failed_and_timed_out_tasks_are_pending_again(
        self, scheduling: Scheduling, bulk: Run[int], small_batches: None, count: int
    ) -> None:
        keys = [self.ended(scheduling, (FAILURE, TIMEOUT)[i % 2]) for i in range(count)]
        others = [self.ended(scheduling, RESULT), scheduling.cancel(scheduling.submit_one()).task_key]
        before = [scheduling.task(key) for key in others]
        assert bulk(lambda it: it.retry(0, RETRYABLE, 1_000)) == count
        for key in keys:
            task = scheduling.task(key)
            assert (task.status, task.retry_count, task.ended, scheduling.place(key)) == (
                Status.PENDING,
                1,
                False,
                "ready",
            )
            assert (scheduling.events(key)[-1].reason, scheduling.events(key)[-1].message) == (
                "RETRY_TASK",
                "retry 1 of 3",
            )
        assert scheduling.told[-1].ready
        assert [scheduling.task(key) for key in others] == before
        assert bulk(lambda it: it.retry(0, RETRYABLE, 1_000)) == 0

    def test_the_oldest_first_up_to_the_limit(
        self, scheduling: Scheduling, bulk: Run[int], small_batches: None
    ) -> None:
        keys = [self.ended(scheduling, change) for change in (TIMEOUT, FAILURE, FAILURE, TIMEOUT)]
        assert bulk(lambda it: it.retry(0, RETRYABLE, 3)) == 3
        assert [scheduling.task(key).ended for key in keys] == [False, False, False, True]

    def test_only_of_the_account_and_the_states(self, scheduling: Scheduling, bulk: Run[int], other: int) -> None:
        mine, late = self.ended(scheduling, FAILURE), self.ended(scheduling, TIMEOUT)
        theirs = self.ended(scheduling, FAILURE, account_id=other)
        assert bulk(lambda it: it.retry(1, {Status.FAILED}, 1_000)) == 1
        assert [scheduling.task(key).ended for key in (mine, late, theirs)] == [False, True, True]
        assert bulk(lambda it: it.retry(other, {Status.TIMEOUT}, 1_000)) == 0
        assert bulk(lambda it: it.retry(other, {Status.FAILED}, 1_000)) == 1

    def test_what_has_used_its_retries_is_stepped_over(
        self, scheduling: Scheduling, bulk: Run[int], small_batches: None
    ) -> None:
        used = [self.ended(scheduling, FAILURE, max_retries=0) for _ in range(3)]
        key = self.ended(scheduling, FAILURE)
        assert bulk(lambda it: it.retry(0, RETRYABLE, 1)) == 1
        assert not scheduling.task(key).ended
        assert all(scheduling.task(each).ended for each in used)

    def test_what_another_call_is_moving_is_left_to_it(self, scheduling: Scheduling, bulk: Run[int]) -> None:
        moving, free = self.ended(scheduling, FAILURE), self.ended(scheduling, FAILURE)
        with scheduling.transaction() as tx:
            tx.tasks.lock([moving])
            assert bulk(lambda it: it.retry(0, RETRYABLE, 1_000)) == 1
        assert [scheduling.task(key).ended for key in (moving, free)] == [True, False]

    def test_a_revoked_lease_bars_its_task(self, scheduling: Scheduling, bulk: Run[int]) -> None:
        ref = scheduling.start(auto_retry=False)
        scheduling.sql("UPDATE leases SET accept_time = now() - interval '1 h', start_time = now()")
        scheduling.reap()
        assert bulk(lambda it: it.retry(0, RETRYABLE, 1_000)) == 1
        assert (scheduling.place(ref.task_key), scheduling.due().count) == ("delayed", 0)
        scheduling.end(ref, FAILURE)
        assert scheduling.due().count == 1

    def test_two_calls_at_once_retry_each_task_once(self, scheduling: Scheduling) -> None:
        keys = [self.ended(scheduling, FAILURE) for _ in range(20)]

        def retry(_: int) -> int:
            batch: Batch = scheduling.run(steer.retry_batch, 0, RETRYABLE, 0, 7)
            return batch.moved

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(retry, range(20))) == 20
        assert {scheduling.task(key).retry_count for key in keys} == {1}
