"""Every write about a running task is fenced by its lease: with a stale one it changes no row, and reports so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scheduler_svc.dispatch.rows import ClaimedRows
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.leases.rows import EndedAttempt, HeartbeatRow, LeaseChange, NamedLease
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import RESULT, TTL, Scheduling

Stale = Callable[[Scheduling], LeaseRef]


def superseded(scheduling: Scheduling) -> LeaseRef:
    """It expired, and the task was leased again."""
    old = scheduling.start()
    scheduling.lose(old)
    scheduling.claim()
    return old


def of_another_fence(scheduling: Scheduling) -> LeaseRef:
    """For example from before a restore: the attempt has the same number."""
    ref = scheduling.start()
    return ref._replace(fence=ref.fence ^ 1)


def of_a_later_attempt(scheduling: Scheduling) -> LeaseRef:
    ref = scheduling.start()
    return ref._replace(attempt=ref.attempt + 1)


def revoked(scheduling: Scheduling) -> LeaseRef:
    ref = scheduling.start()
    scheduling.cancel(ref.task_key, force=True)
    return ref


def ended(scheduling: Scheduling) -> LeaseRef:
    ref = scheduling.start()
    scheduling.end(ref, RESULT)
    return ref


STALE: list[Stale] = [superseded, of_another_fence, of_a_later_attempt, revoked, ended]


def renew(tx: Tx, ref: LeaseRef) -> Any:
    return tx.leases.renew([NamedLease(*ref, "w")], TTL).renewed


def change(tx: Tx, ref: LeaseRef) -> Any:
    return tx.leases.change([LeaseChange(*ref, True, True, 50, "step", "message")])


def revoke(tx: Tx, ref: LeaseRef) -> Any:
    return tx.leases.revoke([ref])


def complete(tx: Tx, ref: LeaseRef) -> Any:
    return tx.leases.complete([ref], late=False)


def complete_late(tx: Tx, ref: LeaseRef) -> Any:
    return tx.leases.complete([ref], late=True)


def delete(tx: Tx, ref: LeaseRef) -> Any:
    return tx.leases.delete([ref])


@pytest.mark.parametrize("write", [renew, change, revoke, complete, complete_late])
@pytest.mark.parametrize("stale", STALE)
def test_a_stale_lease_writes_nothing(
    scheduling: Scheduling, stale: Stale, write: Callable[[Tx, LeaseRef], Any]
) -> None:
    ref = stale(scheduling)
    before = scheduling.sql("SELECT * FROM leases"), scheduling.sql("SELECT * FROM tasks")
    assert not scheduling.run(write, ref)
    assert (scheduling.sql("SELECT * FROM leases"), scheduling.sql("SELECT * FROM tasks")) == before


@pytest.mark.parametrize("stale", [superseded, of_another_fence, of_a_later_attempt, ended])
def test_a_stale_lease_does_not_end_another(scheduling: Scheduling, stale: Stale) -> None:
    ref = stale(scheduling)
    before = scheduling.sql("SELECT * FROM leases")
    assert scheduling.run(delete, ref) == 0
    assert scheduling.sql("SELECT * FROM leases") == before


def test_a_lease_is_renewed_for_its_own_worker_only(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    named = [NamedLease(*ref, "v"), NamedLease(*ref, "w")]
    assert scheduling.run(lambda tx: tx.leases.renew(named[:1], TTL).renewed) == set()
    assert scheduling.run(lambda tx: tx.leases.renew(named[1:], TTL).renewed) == {ref}


@pytest.mark.parametrize("left", [-10.0, 0.5, TTL - 0.5, TTL + 0.9])
def test_a_renewed_lease_lives_for_the_lease_time_at_least(scheduling: Scheduling, left: float) -> None:
    ref = scheduling.start()
    scheduling.sql("UPDATE leases SET expire_time = now() + make_interval(secs => :left)", left=left)
    with scheduling.transaction() as tx:
        assert tx.leases.renew([NamedLease(*ref, "w")], TTL).renewed == {ref}
        now = tx.now
    ((expire_time,),) = scheduling.sql("SELECT expire_time FROM leases")
    assert TTL - 1 <= (expire_time - now).total_seconds() <= TTL + 1


def attempt(ref: LeaseRef) -> EndedAttempt:
    return EndedAttempt(*ref, LeaseEnd.FAILED, Status.FAILED, "w", None, None, 0, 0, 0, 0, None)


@pytest.mark.parametrize("stale", [superseded, revoked, ended])
def test_the_end_of_a_stale_attempt_moves_no_task(scheduling: Scheduling, stale: Stale) -> None:
    ref = stale(scheduling)
    before = scheduling.sql("SELECT * FROM tasks")
    assert scheduling.run(lambda tx: tx.tasks.end_attempts([attempt(ref)])) == 0
    assert scheduling.sql("SELECT * FROM tasks") == before


def test_a_late_result_needs_an_expired_lease(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.hello()  # does not name it: released, not lost
    assert scheduling.run(complete_late, ref) == []


def test_cancel_waiting_does_not_cancel_a_task_that_is_not_pending(scheduling: Scheduling) -> None:
    ref = ended(scheduling)
    assert scheduling.run(lambda tx: tx.tasks.cancel_waiting([ref.task_key], "{}")) == 0


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMEOUT])
def test_a_task_is_retried_only_from_the_state_that_was_read(scheduling: Scheduling, status: Status) -> None:
    ref = ended(scheduling)
    assert scheduling.run(lambda tx: tx.tasks.retry(ref.task_key, status, 1)) == 0


def test_a_replaced_session_is_neither_renewed_nor_closed(scheduling: Scheduling) -> None:
    old = scheduling.hello().session_key
    scheduling.hello()
    before = scheduling.sql("SELECT * FROM workers")
    assert scheduling.run(lambda tx: tx.workers.record_heartbeats([HeartbeatRow("w", old)])) == {}
    scheduling.run(lambda tx: tx.workers.set_draining("w", old))
    scheduling.run(lambda tx: tx.workers.close("w", old))
    scheduling.submit_one()
    claimed = scheduling.run(lambda tx: tx.leases.claim([("w", old)], TTL))
    assert claimed == ClaimedRows([], frozenset({old}), frozenset(), frozenset(), frozenset())
    assert scheduling.sql("SELECT * FROM workers") == before


def test_a_task_is_removed_only_while_it_waits_for_that_attempt(scheduling: Scheduling) -> None:
    waiting, lost = scheduling.submit_one(priority=1), scheduling.start()
    scheduling.lose(lost)
    wrong = [(waiting, 2), (lost.task_key, 1), (lost.task_key, 3)]
    assert scheduling.run(lambda tx: tx.waiting.remove_next(wrong)) == {}
    assert scheduling.place(lost.task_key) == scheduling.place(waiting) == "ready"
    with pytest.raises(Undo):
        scheduling.run(removes_both, [(waiting, 1), (lost.task_key, 2)])


class Undo(Exception):
    """Rolls a transaction back."""


def removes_both(tx: Tx, rows: list[tuple[int, int]]) -> None:
    assert sorted(tx.waiting.remove_next(rows)) == sorted(key for key, _ in rows)
    raise Undo


class TestGroups:
    """Updates of two workers in one group are matched by lease, not by task."""

    def test_a_stale_lease_is_not_renewed_by_its_successor_s_heartbeat(self, scheduling: Scheduling) -> None:
        old = scheduling.start()
        scheduling.lose(old)
        (new,) = scheduling.claim(worker_id="v")
        stale, fresh = scheduling.report_group(scheduling.stated("w", [old]), scheduling.stated("v", [new]))
        assert stale.not_renewed == (old.lease_id,)
        assert fresh.not_renewed == ()

    def test_a_stale_lease_is_not_renewed_by_its_worker_s_newer_lease(self, scheduling: Scheduling) -> None:
        old = scheduling.start()
        scheduling.lose(old)
        (new,) = scheduling.claim()
        assert scheduling.state(old, new).not_renewed == (old.lease_id,)
