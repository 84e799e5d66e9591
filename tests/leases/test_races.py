"""Two transactions on one task: the second waits for the first. Timed loops skip what another session has locked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scheduler_svc.database.connections import Timeouts
from scheduler_svc.domain.account import ALL
from scheduler_svc.domain.errors import InvalidState, SessionReplaced
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Outcome
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.leases import recover
from scheduler_svc.leases.recover import Reaped
from scheduler_svc.leases.report import ReportWork
from scheduler_svc.replica import timed_loops as recovery
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.tasks.bulk import Bulk
from scheduler_svc.transactions import Database, Tx, make_engine
from tests.harness.database_faults import locked_rows
from tests.harness.scheduling import FAILURE, RESULT, SETTINGS, Scheduling, cancels, claims, overtaken, report_of

pytestmark = pytest.mark.integration


def passed_over(scheduling: Scheduling, first: Callable[[Tx], Any]) -> list[Reaped]:
    """The results of a reaper before and after `first` commits."""
    with scheduling.transaction() as tx:
        first(tx)
        meanwhile = scheduling.reap()
    return [meanwhile, scheduling.reap()]


def reports_result(ref: LeaseRef) -> Callable[[Tx], Any]:
    return lambda tx: ReportWork(SETTINGS).run_group(tx, [report_of(ref, RESULT)])


def reaps(tx: Tx) -> None:
    recover.reap(tx, SETTINGS)


def expired(scheduling: Scheduling) -> LeaseRef:
    """A lease that no reaper has ended yet."""
    ref = scheduling.start()
    scheduling.expire(ref)
    return ref


class TestClaimFirst:
    def test_a_task_that_was_stored_after_the_claim_began_has_not_waited(self, scheduling: Scheduling) -> None:
        claim = claims(scheduling)
        with scheduling.transaction() as tx:
            key = scheduling.submit_one()
            (grant,) = claim(tx).grants
        assert (grant.ref.task_key, grant.waited) == (key, 0.0)

    def test_a_cancel_finds_the_task_leased(self, scheduling: Scheduling) -> None:
        key = scheduling.submit_one()
        with pytest.raises(InvalidState) as refused:
            overtaken(scheduling, claims(scheduling), lambda: scheduling.cancel(key))
        assert refused.value.metadata["current_state"] == "submitted"

    def test_a_forced_cancel_revokes_the_lease(self, scheduling: Scheduling) -> None:
        key = scheduling.submit_one()
        task = overtaken(scheduling, claims(scheduling), lambda: scheduling.cancel(key, force=True))
        assert task.status is Status.CANCELLED
        assert scheduling.path(key) == ["pending", "submitted", "cancelled"]
        assert scheduling.barred(key)

    def test_a_hello_that_replaces_the_session_sees_the_lease(self, scheduling: Scheduling) -> None:
        key = scheduling.submit_one()
        overtaken(scheduling, claims(scheduling), scheduling.hello)
        assert scheduling.path(key) == ["pending", "submitted", "pending"]

    def test_a_late_result_is_refused_after_a_claim(self, scheduling: Scheduling) -> None:
        ref = scheduling.lost()
        assert overtaken(scheduling, claims(scheduling, "v"), lambda: scheduling.end(ref, RESULT)) is Outcome.LEASE_LOST

    def test_another_replica_s_claim_takes_the_next_tasks(self, scheduling: Scheduling) -> None:
        keys = [scheduling.submit_one() for _ in range(4)]
        with scheduling.transaction() as tx:
            claims(scheduling, "w", 2)(tx)
            assert [ref.task_key for ref in scheduling.claim(4, "v")] == keys[2:]


class TestCancelFirst:
    def test_a_claim_takes_the_next_task(self, scheduling: Scheduling) -> None:
        first, second = scheduling.submit_one(), scheduling.submit_one()
        scheduling.hello()
        with scheduling.transaction() as tx:
            cancels(first)(tx)
            assert [ref.task_key for ref in scheduling.claim(2)] == [second]

    def test_a_result_is_lost_after_a_cancel(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        second = overtaken(scheduling, cancels(ref.task_key, force=True), lambda: scheduling.end(ref, RESULT))
        assert second is Outcome.LEASE_LOST
        assert not scheduling.barred(ref.task_key)

    def test_a_late_result_is_lost_after_a_cancel(self, scheduling: Scheduling) -> None:
        ref = scheduling.lost()
        assert overtaken(scheduling, cancels(ref.task_key), lambda: scheduling.end(ref, RESULT)) is Outcome.LEASE_LOST

    def test_a_heartbeat_renews_nothing_after_a_cancel(self, scheduling: Scheduling) -> None:
        ref = expired(scheduling)  # else it would write nothing, and so not wait
        ack = overtaken(scheduling, cancels(ref.task_key, force=True), lambda: scheduling.state(ref))
        assert ack.not_renewed == (ref.lease_id,)


class TestResultFirst:
    def test_a_forced_cancel_finds_the_task_completed(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        with pytest.raises(InvalidState) as refused:
            overtaken(scheduling, reports_result(ref), lambda: scheduling.cancel(ref.task_key, force=True))
        assert refused.value.metadata["current_state"] == "completed"

    def test_a_late_result_leaves_nothing_to_claim(self, scheduling: Scheduling) -> None:
        ref = scheduling.lost()
        with scheduling.transaction() as tx:
            reports_result(ref)(tx)
            assert scheduling.claim() == []

    def test_the_same_result_by_another_stream_is_already_committed(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        second = overtaken(scheduling, reports_result(ref), lambda: scheduling.end(ref, RESULT))
        assert second is Outcome.ALREADY_COMMITTED

    def test_a_reaper_finds_no_expired_lease(self, scheduling: Scheduling) -> None:
        reaped = passed_over(scheduling, reports_result(expired(scheduling)))
        assert [result.expired for result in reaped] == [0, 0]


class TestReaperFirst:
    def test_a_heartbeat_renews_nothing_after_the_reaper(self, scheduling: Scheduling) -> None:
        ref = expired(scheduling)
        assert overtaken(scheduling, reaps, lambda: scheduling.state(ref)).not_renewed == (ref.lease_id,)

    def test_a_late_result_is_accepted(self, scheduling: Scheduling) -> None:
        ref = expired(scheduling)
        assert overtaken(scheduling, reaps, lambda: scheduling.end(ref, RESULT)) is Outcome.COMMITTED
        assert scheduling.path(ref.task_key)[-3:] == ["failed", "pending", "completed"]

    def test_a_hello_finds_the_lease_gone(self, scheduling: Scheduling) -> None:
        ref = expired(scheduling)
        assert overtaken(scheduling, reaps, lambda: scheduling.hello(names=[ref])).drop == (ref.lease_id,)

    def test_another_replica_s_reaper_finds_no_more_leases(self, scheduling: Scheduling) -> None:
        expired(scheduling)
        reaped = overtaken(scheduling, reaps, scheduling.reap)
        assert (reaped.expired, reaped.guarded) == (0, False)


def test_the_reaper_keeps_a_lease_that_was_renewed_first(scheduling: Scheduling) -> None:
    ref = expired(scheduling)
    stated = scheduling.stated("w", [ref])
    reaped = passed_over(scheduling, lambda tx: ReportWork(SETTINGS).run_group(tx, [stated]))
    assert [result.expired for result in reaped] == [0, 0]
    assert scheduling.place(ref.task_key) == "leases"


class TestDueFirst:
    """A task that becomes ready while another transaction looks for it in `delayed` is found nevertheless."""

    @pytest.fixture
    def due(self, scheduling: Scheduling) -> int:
        """The key of a task whose attempt failed, and whose retry is due now."""
        key = scheduling.start_and_end(FAILURE)
        scheduling.sql("UPDATE delayed SET due_time = now()")
        return key

    def test_a_cancel_waits_for_the_due_loop(self, scheduling: Scheduling, due: int) -> None:
        task = overtaken(scheduling, recover.promote_due, lambda: scheduling.cancel(due))
        assert task.status is Status.CANCELLED

    @pytest.mark.usefixtures("due")
    def test_another_replica_s_due_loop_skips_the_task(self, scheduling: Scheduling) -> None:
        with scheduling.transaction() as tx:
            recover.promote_due(tx)
            promoted = scheduling.due()
            assert promoted.count == 0
            assert promoted.next_due is not None


def test_two_first_hellos_of_one_worker_id_are_serialized(scheduling: Scheduling) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda number: _hello(scheduling, number), range(1, 9)))
    assert any(opened)
    assert scheduling.sql("SELECT session_number FROM workers") == [(8,)]


def _hello(scheduling: Scheduling, number: int) -> bool:
    try:
        scheduling.hello(number=number)
    except SessionReplaced:
        return False
    return True


# The timed loops skip rows that another session has locked, and return to them.


LOCK_TIMEOUT_S = 0.2


@pytest.fixture
async def calls(db_url: str) -> AsyncIterator[Calls]:
    engine = make_engine(db_url, 1, hot=True, timeouts=Timeouts(LOCK_TIMEOUT_S, 10))
    calls = Calls(Database(engine, lambda _: None, lambda _: None), 1)
    yield calls
    calls.close()
    engine.dispose()
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.mark.parametrize("table", ["leases", "tasks", "shares"])
async def test_the_reaper_ends_leases_that_are_not_locked(
    db_url: str, calls: Calls, scheduling: Scheduling, table: str
) -> None:
    held, free = scheduling.start(), scheduling.start(account_id=scheduling.make_account())
    scheduling.expire(held, free)
    availabilities: list[bool] = []
    reap = recovery.reaper(calls, SETTINGS, availabilities.append)
    where = "account_id = 1" if table == "shares" else f"task_key = {held.task_key}"
    with locked_rows(db_url, table, where):
        await reap()
        assert (scheduling.place(held.task_key), scheduling.place(free.task_key)) == ("leases", "ready")
    await reap()
    assert scheduling.place(held.task_key) == "ready"
    assert set(availabilities) == {True}


async def test_due_tasks_are_admitted_except_for_a_locked_account(
    db_url: str, calls: Calls, scheduling: Scheduling
) -> None:
    other = scheduling.make_account()
    held, free = scheduling.start_and_end(FAILURE), scheduling.start_and_end(FAILURE, account_id=other)
    scheduling.sql("UPDATE delayed SET due_time = now() - make_interval(secs => 1)")
    due = recovery.due(calls)
    with locked_rows(db_url, "shares", "account_id = 1"):
        await due()
        assert (scheduling.place(held), scheduling.place(free)) == ("delayed", "ready")
    await due()
    assert scheduling.place(held) == "ready"


async def test_handle_timeouts_skips_locked_leases(db_url: str, calls: Calls, scheduling: Scheduling) -> None:
    held, free = scheduling.start(), scheduling.start()
    scheduling.sql("UPDATE leases SET accept_time = now() - make_interval(days => 1), start_time = now()")
    bulk = Bulk(calls, SETTINGS)
    with locked_rows(db_url, "tasks", "task_key = :key", key=held.task_key):
        assert await bulk.handle_timeouts(ALL) == 1
        assert scheduling.place(held.task_key) == "leases"
    assert await bulk.handle_timeouts(ALL) == 1
    assert scheduling.place(free.task_key) == "delayed"
