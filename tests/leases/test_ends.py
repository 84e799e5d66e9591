"""How leases end without a result: released, refused, never delivered, lost, timed out, revoked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest

from scheduler_svc.domain.clock import ClockWatch
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, Change, Outcome, Release
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.leases.recover import reap
from scheduler_svc.leases.report import HeartbeatItem
from tests.harness.scheduling import FAILURE, RESULT, SETTINGS, Scheduling, released

pytestmark = pytest.mark.integration


def claimed(scheduling: Scheduling) -> LeaseRef:
    return scheduling.claim_of_new(auto_retry=False, max_retries=0)


def accepted(scheduling: Scheduling) -> LeaseRef:
    """A lease that waits for its CLI."""
    ref = claimed(scheduling)
    scheduling.report(ref, AttemptAccepted())
    return ref


def started(scheduling: Scheduling) -> LeaseRef:
    return scheduling.start(auto_retry=False, max_retries=0)


class End(NamedTuple):
    """How a lease ends without a result, the moves after the claim, and why its last attempt ends."""

    lease: Callable[[Scheduling], LeaseRef]
    end: Callable[[Scheduling, LeaseRef], object]
    moves: tuple[str, ...]
    reason: str = "WORKER_LOST"
    losses: int = 0


PENDING, FAILED = ("pending",), ("failed", "pending")
STARTED = ("processing", *FAILED)
ENDS = {
    "released": End(claimed, lambda s, ref: s.end(ref, released()), PENDING, "DRAINING"),
    "never delivered": End(claimed, lambda s, ref: s.take_back(ref), PENDING, "NOT_DELIVERED"),
    "its worker came back without it": End(accepted, lambda s, _: s.hello(), PENDING, "NOT_HELD"),
    "released after its start": End(started, lambda s, ref: s.end(ref, released()), STARTED),
    "released after its start, of which both tell": End(
        started, lambda s, ref: s.end(ref, released(started=True)), STARTED
    ),
    "released after its start, of which only that tells": End(
        claimed, lambda s, ref: s.end(ref, released(started=True)), STARTED
    ),
    "its worker came back without its CLI": End(started, lambda s, _: s.hello(), STARTED),
    "lost": End(started, lambda s, ref: s.lose(ref), STARTED, losses=1),
    "its CLI died with its worker": End(started, lambda s, ref: s.hello(lost=[ref]), STARTED, losses=1),
    "it died before its start was told": End(claimed, lambda s, ref: s.hello(lost=[ref]), FAILED, losses=1),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_task_whose_lease_ends_without_a_result_goes_on_at_once(scheduling: Scheduling, how: str) -> None:
    """And consumes no retry. If no attempt has begun it keeps its place, else it comes behind its account's others."""
    lease, end, moves, reason, losses = ENDS[how]
    ref, other = lease(scheduling), scheduling.submit_one()
    end(scheduling, ref)
    assert scheduling.signals[-1].ready
    assert not scheduling.signals[-1].endings, "who follows the metrics sees no end"
    assert scheduling.path(ref.task_key) == ["pending", "submitted", *moves]
    unstarted = moves == PENDING
    assert scheduling.events(ref.task_key)[-1 if unstarted else -2].reason == reason
    counts = "SELECT losses, refusals, retry_count, error->>'reason' FROM tasks WHERE task_key = :key"
    assert scheduling.sql(counts, key=ref.task_key) == [(losses, 0, 0, None if unstarted else reason)]
    in_order = [ref.task_key, other] if unstarted else [other, ref.task_key]
    assert [again.task_key for again in scheduling.claim(2)] == in_order


class TestRefused:
    def refuse(self, scheduling: Scheduling, key: int) -> None:
        (ref,) = scheduling.claim()
        assert ref.task_key == key
        scheduling.end(ref, released(Release.REFUSED))

    def test_a_refused_task_keeps_its_place_but_waits(self, scheduling: Scheduling) -> None:
        first, second, third = (scheduling.submit_one() for _ in range(3))
        self.refuse(scheduling, first)
        assert scheduling.place(first) == "delayed"
        assert scheduling.claim()[0].task_key == second
        assert scheduling.wait_is_over(first).count == 1
        assert [ref.task_key for ref in scheduling.claim(2)] == [first, third]

    def test_the_tenth_refusal_in_a_row_fails_it(self, scheduling: Scheduling) -> None:
        key = scheduling.submit_one()
        waits = []
        for _ in range(9):
            self.refuse(scheduling, key)
            ((wait,),) = scheduling.sql("SELECT due_time - (SELECT max(event_time) FROM task_events) FROM delayed")
            waits.append(wait / timedelta(seconds=1))
            scheduling.wait_is_over(key)
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        self.refuse(scheduling, key)
        task = scheduling.task(key)
        assert (task.status, task.retry_count) == (Status.FAILED, 0)
        assert task.error is not None
        assert task.error.reason == "NO_WORKER_ACCEPTS"


def test_a_lease_with_a_report_counts_as_delivered(scheduling: Scheduling) -> None:
    ref = scheduling.lost()
    (newer,) = scheduling.claim()
    scheduling.take_back(ref)  # superseded
    assert scheduling.end(newer, RESULT) is Outcome.COMMITTED


def test_the_fifth_loss_in_a_row_fails_the_task_until_retry_task(scheduling: Scheduling) -> None:
    key = scheduling.submit_one()
    for _ in range(5):
        (ref,) = scheduling.claim()
        scheduling.lose(ref)
    assert (scheduling.task(key).ended, scheduling.place(key)) == (True, "")
    scheduling.retry(key)
    assert scheduling.sql("SELECT losses, retry_count FROM tasks") == [(0, 1)]
    (ref,) = scheduling.claim()
    scheduling.lose(ref)
    assert scheduling.place(key) == "ready"


def test_a_failed_task_waits_for_its_retry(scheduling: Scheduling) -> None:
    key = scheduling.start_and_end(FAILURE)
    task = scheduling.task(key)
    assert scheduling.path(key)[-2:] == ["failed", "pending"]
    assert (task.retry_count, task.ended, scheduling.place(key)) == (1, False, "delayed")
    promoted = scheduling.due()
    assert promoted.count == 0
    assert promoted.next_due is not None
    assert 26 < promoted.next_due <= 33
    assert scheduling.wait_is_over(key).count == 1
    (again,) = scheduling.claim()
    assert again.attempt == 2
    scheduling.end(again, RESULT)
    assert scheduling.task(key).error is None


class TestReaperGuard:
    """Nothing expires or times out during or just after an outage (rule 11)."""

    def test_no_lease_expires_for_one_lease_time_after_a_gap(self, scheduling: Scheduling) -> None:
        lost = scheduling.start()
        late = scheduling.start(timeout=timedelta(seconds=1))
        scheduling.sql(
            "UPDATE leases SET accept_time = now() - interval '1 min', start_time = now() WHERE task_key = :key",
            key=late.task_key,
        )
        scheduling.expire(lost)
        scheduling.sql("UPDATE reaper SET stamp = now() - interval '10.5 s'")
        assert scheduling.reap().guarded
        assert scheduling.reap().guarded
        ((left,),) = scheduling.sql("SELECT extract(epoch FROM expire_not_before - now())::float8 FROM reaper")
        assert 110 < left <= 120
        scheduling.sql("UPDATE reaper SET expire_not_before = now()")
        reaped = scheduling.reap()
        assert (reaped.guarded, reaped.expired, reaped.timed_out) == (False, 1, 1)
        assert scheduling.place(late.task_key) == "delayed"

    def test_a_fresh_database_begins_with_a_gap(self, scheduling: Scheduling) -> None:
        scheduling.sql("DELETE FROM reaper")
        scheduling.sql("INSERT INTO reaper (stamp) VALUES (now() - interval '1 minute')")  # migrated, then started
        assert scheduling.reap().guarded

    def test_no_lease_expires_while_the_database_clock_runs_ahead_of_the_reaper(self, scheduling: Scheduling) -> None:
        watch = ClockWatch(SETTINGS.lease_ttl, SETTINGS.heartbeat_interval)
        own = iter((100.0, 100.0, 94.0, 94.0))  # meanwhile the database's has gained 6 s
        ref = scheduling.start()
        assert not scheduling.run(reap, SETTINGS, watch, lambda: next(own)).guarded
        scheduling.expire(ref)
        reaped = scheduling.run(reap, SETTINGS, watch, lambda: next(own))
        assert (reaped.guarded, reaped.runs_ahead, reaped.expired) == (True, True, 0)
        assert scheduling.reap().guarded, "all other reapers wait too"


class TestTimedOut:
    def took(self, scheduling: Scheduling, ref: LeaseRef, seconds: float, column: str = "accept_time") -> None:
        scheduling.sql(
            f"UPDATE leases SET {column} = now() - make_interval(secs => :seconds) WHERE task_key = :key",
            seconds=seconds,
            key=ref.task_key,
        )

    def test_a_timeout_counts_from_the_start_in_a_slot(self, scheduling: Scheduling) -> None:
        ref = scheduling.start(timeout=timedelta(seconds=60))
        self.took(scheduling, ref, 10_000, "claim_time")
        self.took(scheduling, ref, 59)
        assert scheduling.reap().timed_out == 0
        self.took(scheduling, ref, 61)
        assert scheduling.reap().timed_out == 1
        assert scheduling.path(ref.task_key)[-2:] == ["timeout", "pending"]
        assert scheduling.barred(ref.task_key)
        assert scheduling.signals[-1].cancelled == [("w", ref.lease_id, "TASK_TIMEOUT")]
        assert scheduling.reap().timed_out == 0

    def test_a_timed_out_task_without_retries_ends(self, scheduling: Scheduling) -> None:
        ref = scheduling.start(timeout=timedelta(seconds=60), auto_retry=False)
        self.took(scheduling, ref, 61)
        scheduling.reap()
        task = scheduling.task(ref.task_key)
        assert (task.status, task.ended, scheduling.signals[-1].ended) == (Status.TIMEOUT, True, [ref.task_key])
        assert scheduling.signals[-1].endings == {Status.TIMEOUT: [ref.task_key]}
        assert scheduling.end(ref, RESULT) is Outcome.LEASE_LOST

    def test_a_lease_that_no_slot_took_is_a_loss_one_lease_time_after_its_timeout(self, scheduling: Scheduling) -> None:
        ref = scheduling.claim_of_new(timeout=timedelta(seconds=60))
        self.took(scheduling, ref, 60 + 119, "claim_time")
        assert scheduling.reap().timed_out == 0
        self.took(scheduling, ref, 60 + 121, "claim_time")
        assert scheduling.reap().timed_out == 1
        assert scheduling.sql("SELECT losses, retry_count FROM tasks") == [(1, 0)]
        assert (scheduling.place(ref.task_key), scheduling.barred(ref.task_key)) == ("delayed", True)
        assert scheduling.due().count == 0

    def test_an_expired_lease_of_a_timed_out_task_is_only_lost(self, scheduling: Scheduling) -> None:
        ref = scheduling.start(timeout=timedelta(seconds=60))
        self.took(scheduling, ref, 61)
        reaped = scheduling.lose(ref)
        assert (reaped.expired, reaped.timed_out) == (1, 0)


class TestRevoked:
    """A forced cancel or a timeout leaves the lease revoked: until it has ended, its task gets no other (rule 17)."""

    @pytest.fixture
    def revoked(self, scheduling: Scheduling) -> LeaseRef:
        """A timed out lease, whose task waits for a retry that is due."""
        ref = scheduling.time_out(scheduling.start())
        assert scheduling.wait_is_over(ref.task_key).count == 0
        return ref

    def free(self, scheduling: Scheduling, ref: LeaseRef) -> bool:
        """Whether the task may be leased again; then the due loop got a signal."""
        assert scheduling.place(ref.task_key) == "delayed"
        if scheduling.barred(ref.task_key):
            assert scheduling.due().count == 0
            return False
        assert scheduling.signals[-1].due
        assert scheduling.due().count == 1
        return True

    def test_a_revoked_lease_bars_a_new_one(self, scheduling: Scheduling, revoked: LeaseRef) -> None:
        assert scheduling.due().next_due is None
        scheduling.retry(revoked.task_key)
        assert not self.free(scheduling, revoked)
        assert scheduling.claim() == []

    @pytest.mark.parametrize("change", [RESULT, FAILURE, released()])
    def test_any_final_update_of_a_revoked_lease_ends_it_and_is_lost(
        self, scheduling: Scheduling, revoked: LeaseRef, change: Change
    ) -> None:
        assert scheduling.report(revoked, AttemptAccepted()) == [Outcome.LEASE_LOST]
        assert not self.free(scheduling, revoked)
        assert scheduling.report(revoked, AttemptAccepted(), change) == [Outcome.LEASE_LOST] * 2
        assert self.free(scheduling, revoked)
        assert scheduling.end(revoked, change) is Outcome.LEASE_LOST

    def test_a_heartbeat_without_the_revoked_lease_ends_it(self, scheduling: Scheduling, revoked: LeaseRef) -> None:
        scheduling.state()  # the assignment was on its way
        assert not self.free(scheduling, revoked)
        assert scheduling.state(revoked).not_renewed == (revoked.lease_id,)
        assert not self.free(scheduling, revoked)
        scheduling.state()
        assert self.free(scheduling, revoked)

    def test_a_heartbeat_that_names_only_an_earlier_lease_does_not_end_it(self, scheduling: Scheduling) -> None:
        old = scheduling.lost()
        (new,) = scheduling.claim()
        scheduling.cancel(new.task_key, force=True)
        scheduling.state(old)  # a result of it is spooled; the new one is on its way
        scheduling.state()
        assert scheduling.barred(new.task_key)
        scheduling.state(new)
        scheduling.state(old)
        assert not scheduling.barred(new.task_key)

    def test_another_worker_s_heartbeat_does_not_end_it(self, scheduling: Scheduling, revoked: LeaseRef) -> None:
        scheduling.state(revoked)
        scheduling.hello("v")
        scheduling.state(worker_id="v")
        assert not self.free(scheduling, revoked)

    def test_a_replaced_session_s_heartbeat_does_not_end_it(self, scheduling: Scheduling, revoked: LeaseRef) -> None:
        scheduling.state(revoked)
        old: HeartbeatItem = scheduling.stated("w", [])
        scheduling.hello(names=[revoked])
        scheduling.report_group(old)
        assert not self.free(scheduling, revoked)

    def test_a_revoked_lease_expires(self, scheduling: Scheduling, revoked: LeaseRef) -> None:
        scheduling.state(revoked)  # renews nothing
        scheduling.lose(revoked)
        assert self.free(scheduling, revoked)
        assert scheduling.sql("SELECT losses FROM tasks") == [(0,)]

    def test_the_next_attempt_runs_after_the_revoked_lease_is_gone(
        self, scheduling: Scheduling, revoked: LeaseRef
    ) -> None:
        scheduling.end(revoked, released())
        assert self.free(scheduling, revoked)
        (ref,) = scheduling.claim(worker_id="v")
        assert ref.attempt == 2
        assert scheduling.end(ref, RESULT) is Outcome.COMMITTED
