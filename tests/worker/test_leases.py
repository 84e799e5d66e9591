"""What a worker decides about its leases, polls, and pauses before dialling."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from tests.harness.scripted_scheduler import lease as assigned
from tests.harness.waiting import PATIENCE_S
from worker_svc.creators.base import TEXTS, Brief, Job
from worker_svc.guard import now
from worker_svc.session import wire
from worker_svc.session.channel import DEFAULT_MAX_PAUSE, MIN_BOUND, ReconnectBackoff
from worker_svc.session.leases import (
    MAX_OPEN_POLLS,
    POLL_TIMEOUT,
    Lease,
    LeaseBook,
    OpenPolls,
    Stage,
    StopAction,
    StopReason,
)
from worker_svc.session.outbox import PendingUpdate, UpdateKind
from worker_svc.session.reporter import LeaseReporter, LeaseReporters

pytestmark = pytest.mark.unit


# What a worker decides about the leases that it holds.


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


def test_a_lease_is_held_as_it_was_assigned() -> None:
    received = assigned("a", attempt=2, timeout=9.0, account_id=3, failed_elsewhere=True, model="m")
    received.task.tone = "plain"
    received.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    lease = wire.lease_of(received, 100.0, 120.0)
    assert (lease.lease_id, lease.attempt, lease.task_id, lease.timeout) == ("a", 2, "task-a", 9.0)
    assert (lease.received_at, lease.deadline, lease.stage) == (100.0, 120.0, Stage.QUEUED)
    assert (lease.account_id, lease.failed_elsewhere) == (3, True)
    assert lease.log_keys["trace_id"] == "a" * 32
    texts = {**dict.fromkeys(TEXTS, ""), "tone": "plain"}
    del texts["topic"]
    assert wire.job_of(received) == Job("task-a", 2, Brief("a topic", texts, {"model": "m"}))


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


EFFECTS = {
    Stage.QUEUED: StopAction.END,
    Stage.ACCEPTED: StopAction.STOP_RUN,
    Stage.PROCESSING: StopAction.STOP_RUN,
    Stage.FINISHED: StopAction.NOTHING,
}


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("why", StopReason)
def test_the_effect_of_stopping_depends_on_the_stage_of_the_lease(stage: Stage, why: StopReason) -> None:
    book = LeaseBook()
    lease = at_stage(book, stage)
    assert book.stop(lease, why) is EFFECTS[stage]
    assert lease.stop is (None if stage is Stage.FINISHED else why)
    assert lease in book, "held until its ending is acknowledged"
    assert book.stop(lease, StopReason.DRAINING) is StopAction.NOTHING, "the first reason stays"
    assert lease.stop is (None if stage is Stage.FINISHED else why)


@pytest.mark.parametrize("stage", Stage)
def test_a_revoked_run_is_stopped_up_to_its_deadline_and_past_that_is_the_guards_to_judge(stage: Stage) -> None:
    past_it = EFFECTS[stage] if stage is Stage.QUEUED else StopAction.NOTHING
    for at, expected in ((119.9, EFFECTS[stage]), (120.0, past_it)):
        book = LeaseBook()
        lease = at_stage(book, stage)
        assert book.revoke(lease, at) is expected
        assert lease.stop is (None if expected is StopAction.NOTHING else StopReason.REVOKED)


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


# When a poll of the scheduler is answered, and what a run has to do with it.

NOW = 1_000.0
FOR_EVER = 3_600.0


def test_a_poll_is_answered_once_every_cli_has_answered_or_its_run_is_over() -> None:
    polls = OpenPolls()
    polls.open("0", [], NOW)
    assert polls.answered == "0", "it asks nobody"
    number = polls.next_number
    polls.open("1", ["a", "b"], NOW)
    polls.record_answer("a", number, NOW)
    assert polls.answered == "0"
    polls.record_end("b", NOW)
    assert polls.answered == "1"


def test_an_answer_counts_for_its_poll_and_those_before_it() -> None:
    polls = OpenPolls()
    first = polls.next_number
    for poll_id in ("1", "2", "3"):
        polls.open(poll_id, ["a"], NOW)
    polls.record_answer("a", first, NOW)
    assert polls.answered == "1"
    assert polls.knows("1"), "the scheduler may repeat it"
    assert polls.knows("2")
    polls.record_answer("a", first + 2, NOW)
    assert polls.answered == "3"
    assert not polls.knows("2")


def test_a_cli_that_hangs_holds_no_answer_for_longer_than_the_limit() -> None:
    polls = OpenPolls()
    polls.open("1", ["a"], NOW)
    assert not polls.settle(NOW + POLL_TIMEOUT - 0.1)
    assert polls.settle(NOW + POLL_TIMEOUT)
    assert polls.answered == "1"


def test_another_stream_knows_no_poll_of_the_last_one() -> None:
    polls = OpenPolls()
    polls.open("1", [], NOW)
    polls.open("2", ["a"], NOW)
    polls.forget()
    assert (polls.answered, polls.knows("1"), polls.knows("2")) == ("", False, False)


def test_the_last_two_of_too_many_polls_share_an_answer() -> None:
    polls = OpenPolls()
    for number in range(1, 2 * MAX_OPEN_POLLS):
        polls.open(str(number), ["a"], NOW)
    assert sum(polls.knows(str(number)) for number in range(1, 2 * MAX_OPEN_POLLS)) == MAX_OPEN_POLLS
    assert polls.knows("1")
    polls.record_end("a", NOW)
    assert polls.answered == str(2 * MAX_OPEN_POLLS - 1)


class Reported:
    """A reporter of a lease that is in its slot, with what came of it; its clock stands still."""

    def __init__(self) -> None:
        self.reports: list[object] = []
        self.now = NOW
        book, lease = LeaseBook(), Lease("a", 1, "task-a", inf, 0.0, inf)
        book.assign(lease)
        book.accept(lease, 0.0)
        self.reporter = LeaseReporter(lease, book, self._add, self.reports.append, lambda: self.now)

    def _add(self, update: PendingUpdate) -> None:
        self.reports.append(update.kind)

    async def pause(self, seconds: float = FOR_EVER) -> None:
        """A pause that ends within the test's patience."""
        async with asyncio.timeout(PATIENCE_S):
            await self.reporter.pause(seconds)


async def loop_has_turned() -> None:
    """Whatever could go on without time has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def run() -> Reported:
    return Reported()


def test_a_run_without_status_calls_delays_no_answer() -> None:
    book = LeaseBook()
    reporters = LeaseReporters(book, lambda _: None, lambda: None)
    reporters.open(held(book))
    reporters.poll_now("1")
    assert reporters.polls.answered == "1"


def test_progress_is_sent_at_most_once_a_second(run: Reported) -> None:
    for seconds, sent in ((0.0, 1), (0.9, 1), (1.0, 2)):
        run.now = NOW + seconds
        run.reporter.progress(10, "", "")
        assert run.reports == [UpdateKind.PROGRESS] * sent


def test_the_last_progress_of_several_is_sent_once_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_svc.session.reporter.now", lambda: NOW)
    book, updates = LeaseBook(), list[PendingUpdate]()
    reporters = LeaseReporters(book, updates.append, lambda: None)
    reporter = reporters.open(held(book))
    for percent in (1, 2, 50):
        reporter.progress(percent, "", "")
    reporters.check(NOW + 0.9)
    assert [update.message.progress.percent for update in updates] == [1]
    reporters.check(NOW + 1.0)
    assert [update.message.progress.percent for update in updates] == [1, 50]


async def test_a_poll_that_is_repeated_is_known_and_one_that_no_cli_answers_is_given_up() -> None:
    book = LeaseBook()
    reporters = LeaseReporters(book, lambda _: None, lambda: None)
    await reporters.open(held(book)).pause(0)
    for poll_id in ("1", "1"):
        reporters.poll_now(poll_id)
    assert (reporters.polls.next_number, reporters.polls.answered) == (2, "")
    reporters.check(now() + POLL_TIMEOUT)
    assert reporters.polls.answered == "1"


async def test_a_cli_s_answer_is_added_before_the_poll_is_answered(run: Reported) -> None:
    await run.pause(0)
    run.reporter.progress(10, "", "")
    assert run.reporter.poll_now(1)
    await run.pause()
    run.reporter.processing()
    run.reporter.progress(20, "", "")
    assert run.reports == [UpdateKind.PROGRESS, UpdateKind.PROCESSING]
    await run.pause(0)
    assert run.reports == [UpdateKind.PROGRESS, UpdateKind.PROCESSING, UpdateKind.PROGRESS, 1]


async def test_a_question_that_was_under_way_does_not_answer_a_poll(run: Reported) -> None:
    await run.pause(0)
    assert run.reporter.poll_now(1)
    await run.pause()
    assert run.reports == []
    await run.pause(0)
    assert run.reports == [1]


async def test_polls_that_come_together_cost_one_question(run: Reported) -> None:
    await run.pause(0)
    assert run.reporter.poll_now(1)
    assert run.reporter.poll_now(2)
    await run.pause()
    await run.pause(0)
    assert run.reports == [2]


async def test_a_cli_that_was_not_asked_yet_is_not_waited_for(run: Reported) -> None:
    assert not run.reporter.poll_now(1)
    paused = asyncio.create_task(run.reporter.pause(FOR_EVER))
    await loop_has_turned()
    assert not paused.done(), "nor does its first pause end"
    assert run.reporter.poll_now(2)
    async with asyncio.timeout(PATIENCE_S):
        await paused


async def test_a_poll_comes_on_top_of_the_questions_that_are_asked_anyway(run: Reported) -> None:
    await run.pause(0)
    run.reporter.poll_now(1)
    await run.pause(0.2)
    await run.pause()  # ends when the last one would have ended
    paused = asyncio.create_task(run.reporter.pause(FOR_EVER))
    await loop_has_turned()
    assert not paused.done()
    run.reporter.end_pauses()
    async with asyncio.timeout(PATIENCE_S):
        await paused
    await run.pause()


# The pauses before dialling again.


def longest_pause(backoff: ReconnectBackoff) -> float:
    return max(backoff.pause() for _ in range(200))


def test_no_pause_is_longer_than_a_heartbeat_interval() -> None:
    backoff = ReconnectBackoff()
    assert backoff.pause() <= MIN_BOUND
    assert longest_pause(backoff) <= DEFAULT_MAX_PAUSE
    backoff.succeeded(lasted=DEFAULT_MAX_PAUSE)
    assert backoff.pause() <= MIN_BOUND, "as at first, after a stream that lasted"
    backoff.max_pause = 0.5
    assert longest_pause(backoff) <= 0.5
    backoff.max_pause = 10.0
    assert 5.0 < longest_pause(backoff) <= 10.0, "the bound has grown, and the whole of it is used"


def test_streams_that_end_at_once_are_failures() -> None:
    backoff = ReconnectBackoff()
    backoff.max_pause = 10.0
    seen = []
    for _ in range(200):
        seen.append(backoff.pause())
        backoff.succeeded(lasted=0.01)
    assert max(seen) > MIN_BOUND
