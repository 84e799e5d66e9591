"""What a worker decides about the leases that it holds."""

from __future__ import annotations

from math import inf

import pytest

from worker_svc.session.leases import Act, Lease, LeaseBook, Stage, Stop


def held(book: LeaseBook, lease_id: str = "a", *, timeout: float = 50.0, deadline: float = 120.0) -> Lease:
    lease = Lease(lease_id, 1, f"task-{lease_id}", timeout, received_at=100.0, deadline=deadline)
    assert book.assign(lease)
    return lease


def at_stage(book: LeaseBook, stage: Stage) -> Lease:
    lease = held(book)
    if stage >= Stage.ACCEPTED:
        assert book.accept(lease, 101.0) is None
    if stage >= Stage.PROCESSING:
        assert book.processing(lease)
    if stage >= Stage.FINISHED:
        book.settle(lease)
    assert lease.stage is stage
    return lease


def test_a_lease_that_is_assigned_twice_is_taken_once() -> None:
    book = LeaseBook()
    first = held(book)
    assert not book.assign(Lease("a", 1, "task-a", 50.0, 100.0, 120.0))
    assert list(book) == [first]


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        (Stage.QUEUED, Act.END),
        (Stage.ACCEPTED, Act.STOP_RUN),
        (Stage.PROCESSING, Act.STOP_RUN),
        (Stage.FINISHED, Act.NOTHING),
    ],
)
@pytest.mark.parametrize("why", list(Stop))
def test_the_effect_of_stopping_depends_on_the_stage_of_the_lease(stage: Stage, act: Act, why: Stop) -> None:
    book = LeaseBook()
    lease = at_stage(book, stage)
    assert book.stop(lease, why) is act
    assert lease.stop is (None if act is Act.NOTHING else why)
    assert lease.lease_id in book, "held until its ending is acknowledged"


@pytest.mark.parametrize(
    ("stage", "act", "act_past_its_deadline"),
    [
        (Stage.QUEUED, Act.END, Act.END),
        (Stage.ACCEPTED, Act.STOP_RUN, Act.NOTHING),
        (Stage.PROCESSING, Act.STOP_RUN, Act.NOTHING),
        (Stage.FINISHED, Act.NOTHING, Act.NOTHING),
    ],
)
def test_a_revoked_run_is_stopped_up_to_its_deadline_and_past_that_is_the_guards_to_judge(
    stage: Stage, act: Act, act_past_its_deadline: Act
) -> None:
    for now, expected in ((119.9, act), (120.0, act_past_its_deadline)):
        book = LeaseBook()
        lease = at_stage(book, stage)
        assert book.revoke(lease, now) is expected
        assert lease.stop is (None if expected is Act.NOTHING else Stop.REVOKED)


def test_the_first_reason_to_stop_stays() -> None:
    book = LeaseBook()
    lease = at_stage(book, Stage.PROCESSING)
    book.stop(lease, Stop.EXPIRED)
    assert book.stop(lease, Stop.DRAINING) is Act.NOTHING
    assert lease.stop is Stop.EXPIRED


def test_processing_is_told_once_and_never_after_the_end() -> None:
    book = LeaseBook()
    lease = at_stage(book, Stage.ACCEPTED)
    assert book.processing(lease)
    assert not book.processing(lease)
    book.settle(lease)
    assert not book.processing(lease)
    assert lease.stage is Stage.FINISHED


@pytest.mark.parametrize(
    ("stage", "now", "expected"),
    [
        (Stage.QUEUED, 119.9, None),
        (Stage.QUEUED, 120.0, Stop.EXPIRED),
        (Stage.ACCEPTED, 120.0, None),
        (Stage.PROCESSING, 120.0, None),
        (Stage.FINISHED, 1e9, None),
    ],
)
def test_a_lease_that_waits_is_over_at_its_deadline_and_a_run_is_the_guards_to_judge(
    stage: Stage, now: float, expected: Stop | None
) -> None:
    book = LeaseBook()
    lease = at_stage(book, stage)
    assert book.due(now) == ([] if expected is None else [(lease, expected)])


def test_the_timeout_counts_from_accepted_and_waiting_is_bounded_by_it() -> None:
    book = LeaseBook()
    waits, runs = held(book, "waits", timeout=10.0), held(book, "runs", timeout=10.0)
    assert book.accept(runs, 109.0) is None
    assert book.due(110.1) == [(waits, Stop.QUEUED_TOO_LONG)]
    book.stop(waits, Stop.QUEUED_TOO_LONG)
    assert book.due(118.9) == []
    assert book.due(119.0) == [(runs, Stop.TASK_TIMEOUT)]


def test_a_run_that_the_guard_ended_before_its_timeout_has_not_timed_out() -> None:
    book = LeaseBook()
    lease = held(book, timeout=50.0, deadline=120.0)
    assert book.accept(lease, 101.0) is None
    assert book.due(200.0) == []
    book.renew(["a"], 152.0)
    assert book.due(200.0) == [(lease, Stop.TASK_TIMEOUT)]


def test_leases_that_come_too_late_are_not_accepted() -> None:
    book = LeaseBook()
    assert book.accept(held(book, "late"), 120.0) is Stop.EXPIRED
    assert book.accept(held(book, "waited", timeout=5.0), 106.0) is Stop.QUEUED_TOO_LONG
    assert all(lease.stage is Stage.QUEUED for lease in book)


def test_a_renewal_moves_deadlines_forward_only_and_not_those_of_ended_leases() -> None:
    book = LeaseBook()
    runs, waits, over = held(book, "runs"), held(book, "waits"), held(book, "over")
    assert book.accept(runs, 101.0) is None
    book.settle(over)
    assert book.renew(["runs", "waits", "over", "gone"], 130.0) == [runs], "the guard needs to know of what runs"
    assert (runs.deadline, waits.deadline, over.deadline) == (130.0, 130.0, inf)
    assert book.renew(["runs"], 125.0) == []
    assert runs.deadline == 130.0


def test_a_spooled_result_is_held_as_finished() -> None:
    book = LeaseBook()
    lease = book.restore("old", 2)
    assert book.get("old") is lease
    assert (lease.stage, lease.attempt) == (Stage.FINISHED, 2)
    assert book.stop(lease, Stop.REVOKED) is Act.NOTHING, "a drop never stops a result that is spooled"
    assert book.due(1e12) == []
    book.forget("old")
    assert len(book) == 0


def test_the_log_names_task_lease_and_attempt_as_far_as_they_are_known() -> None:
    book = LeaseBook()
    assert held(book).log_keys == {"task_id": "task-a", "lease_id": "a", "attempt": 1}
    assert book.restore("old", 2).log_keys == {"lease_id": "old", "attempt": 2}, "the spool knows no task"
