"""What a worker decides about the leases that it holds."""

from __future__ import annotations

from math import inf

import pytest

from worker_svc.session.leases import Lease, LeaseBook, Stage, StopAction, StopReason


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


@pytest.mark.parametrize(("timeout", "report_by"), [(600.0, 101.0 + 585.0), (4.0, 101.0 + 3.0), (inf, inf)])
def test_a_result_has_to_be_on_its_way_before_its_task_times_out(timeout: float, report_by: float) -> None:
    book = LeaseBook()
    lease = held(book, timeout=timeout)
    assert lease.report_by == inf, "it runs from `accepted` on"
    assert book.accept(lease, 101.0) is None
    assert lease.report_by == report_by


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        (Stage.QUEUED, StopAction.END),
        (Stage.ACCEPTED, StopAction.STOP_RUN),
        (Stage.PROCESSING, StopAction.STOP_RUN),
        (Stage.FINISHED, StopAction.NOTHING),
    ],
)
@pytest.mark.parametrize("why", list(StopReason))
def test_the_effect_of_stopping_depends_on_the_stage_of_the_lease(
    stage: Stage, act: StopAction, why: StopReason
) -> None:
    book = LeaseBook()
    lease = at_stage(book, stage)
    assert book.stop(lease, why) is act
    assert lease.stop is (None if act is StopAction.NOTHING else why)
    assert lease.lease_id in book, "held until its ending is acknowledged"


@pytest.mark.parametrize(
    ("stage", "act", "act_past_its_deadline"),
    [
        (Stage.QUEUED, StopAction.END, StopAction.END),
        (Stage.ACCEPTED, StopAction.STOP_RUN, StopAction.NOTHING),
        (Stage.PROCESSING, StopAction.STOP_RUN, StopAction.NOTHING),
        (Stage.FINISHED, StopAction.NOTHING, StopAction.NOTHING),
    ],
)
def test_a_revoked_run_is_stopped_up_to_its_deadline_and_past_that_is_the_guards_to_judge(
    stage: Stage, act: StopAction, act_past_its_deadline: StopAction
) -> None:
    for now, expected in ((119.9, act), (120.0, act_past_its_deadline)):
        book = LeaseBook()
        lease = at_stage(book, stage)
        assert book.revoke(lease, now) is expected
        assert lease.stop is (None if expected is StopAction.NOTHING else StopReason.REVOKED)


def test_the_first_reason_to_stop_stays() -> None:
    book = LeaseBook()
    lease = at_stage(book, Stage.PROCESSING)
    book.stop(lease, StopReason.EXPIRED)
    assert book.stop(lease, StopReason.DRAINING) is StopAction.NOTHING
    assert lease.stop is StopReason.EXPIRED


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
        (Stage.QUEUED, 120.0, StopReason.EXPIRED),
        (Stage.ACCEPTED, 120.0, None),
        (Stage.PROCESSING, 120.0, None),
        (Stage.FINISHED, 1e9, None),
    ],
)
def test_a_lease_that_waits_is_over_at_its_deadline_and_a_run_is_the_guards_to_judge(
    stage: Stage, now: float, expected: StopReason | None
) -> None:
    book = LeaseBook()
    lease = at_stage(book, stage)
    assert book.due(now) == ([] if expected is None else [(lease, expected)])


def test_the_timeout_counts_from_accepted_and_waiting_is_bounded_by_it() -> None:
    book = LeaseBook()
    waits, runs = held(book, "waits", timeout=10.0), held(book, "runs", timeout=10.0)
    assert book.accept(runs, 109.0) is None
    assert book.due(110.1) == [(waits, StopReason.QUEUED_TOO_LONG)]
    book.stop(waits, StopReason.QUEUED_TOO_LONG)
    assert book.due(118.9) == []
    assert book.due(119.0) == [(runs, StopReason.TASK_TIMEOUT)]


def test_a_run_that_the_guard_ended_before_its_timeout_has_not_timed_out() -> None:
    book = LeaseBook()
    lease = held(book, timeout=50.0, deadline=120.0)
    assert book.accept(lease, 101.0) is None
    assert book.due(200.0) == []
    book.renew(["a"], 152.0)
    assert book.due(200.0) == [(lease, StopReason.TASK_TIMEOUT)]


def test_leases_that_come_too_late_are_not_accepted() -> None:
    book = LeaseBook()
    assert book.accept(held(book, "late"), 120.0) is StopReason.EXPIRED
    assert book.accept(held(book, "waited", timeout=5.0), 106.0) is StopReason.QUEUED_TOO_LONG
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
    assert book.stop(lease, StopReason.REVOKED) is StopAction.NOTHING, "a drop never stops a result that is spooled"
    assert book.due(1e12) == []
    book.forget("old")
    assert len(book) == 0


def test_the_log_names_task_lease_and_attempt_as_far_as_they_are_known() -> None:
    book = LeaseBook()
    assert held(book).log_keys == {"task_id": "task-a", "lease_id": "a", "attempt": 1}
    assert book.restore("old", 2).log_keys == {"lease_id": "old", "attempt": 2}, "the spool knows no task"
