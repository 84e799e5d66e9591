"""When a poll of the scheduler is answered, and what a run has to do with it."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from worker_svc.session.leases import Lease, LeaseBook
from worker_svc.session.outbox import PendingUpdate, UpdateKind
from worker_svc.session.polls import MAX_OPEN_POLLS, POLL_TIMEOUT, OpenPolls
from worker_svc.session.reporter import LeaseReporter

NOW = 1_000.0
PATIENCE_S = 5.0
FOR_EVER = 3_600.0


def test_a_poll_that_asks_nobody_is_answered_at_once() -> None:
    polls = OpenPolls()
    polls.open("1", [], NOW)
    assert polls.answered == "1"


def test_a_poll_is_answered_once_every_cli_has_answered_or_its_run_is_over() -> None:
    polls = OpenPolls()
    number = polls.next_number
    polls.open("1", ["a", "b"], NOW)
    polls.record_answer("a", number, NOW)
    assert polls.answered == ""
    polls.record_end("b", NOW)
    assert polls.answered == "1"


def test_an_answer_to_an_earlier_poll_is_none_to_a_later_one() -> None:
    polls = OpenPolls()
    first = polls.next_number
    polls.open("1", ["a"], NOW)
    polls.open("2", ["a"], NOW)
    polls.record_answer("a", first, NOW)
    assert polls.answered == "1"
    polls.record_answer("a", first + 1, NOW)
    assert polls.answered == "2"


def test_an_answer_to_a_later_poll_answers_those_before_it() -> None:
    polls = OpenPolls()
    polls.open("1", ["a"], NOW)
    polls.open("2", ["a"], NOW)
    polls.record_answer("a", polls.next_number - 1, NOW)
    assert polls.answered == "2"
    assert not polls.knows("1")


def test_a_cli_that_hangs_holds_no_answer_for_longer_than_the_limit() -> None:
    polls = OpenPolls()
    polls.open("1", ["a"], NOW)
    assert not polls.settle(NOW + POLL_TIMEOUT - 0.1)
    assert polls.settle(NOW + POLL_TIMEOUT)
    assert polls.answered == "1"


def test_a_poll_that_comes_again_is_known() -> None:
    polls = OpenPolls()
    polls.open("1", ["a"], NOW)
    assert polls.knows("1")
    polls.record_end("a", NOW)
    assert polls.knows("1")
    assert not polls.knows("2")


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
        self.said: list[object] = []
        self.now = NOW
        book, lease = LeaseBook(), Lease("a", 1, "task-a", inf, 0.0, inf)
        book.assign(lease)
        book.accept(lease, 0.0)
        self.reporter = LeaseReporter(lease, book, self._add, self.said.append, lambda: self.now)

    def _add(self, update: PendingUpdate) -> None:
        self.said.append(update.kind)

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


async def test_a_cli_s_answer_is_added_before_the_poll_is_answered(run: Reported) -> None:
    await run.pause(0)
    run.reporter.progress(10, "", "")
    assert run.reporter.poll_now(1)
    await run.pause()
    run.reporter.processing()
    run.reporter.progress(20, "", "")
    assert run.said == [UpdateKind.PROGRESS, UpdateKind.PROCESSING]
    await run.pause(0)
    assert run.said == [UpdateKind.PROGRESS, UpdateKind.PROCESSING, UpdateKind.PROGRESS, 1]


async def test_a_question_that_was_under_way_does_not_answer_a_poll(run: Reported) -> None:
    await run.pause(0)
    assert run.reporter.poll_now(1)
    await run.pause()
    assert run.said == []
    await run.pause(0)
    assert run.said == [1]


async def test_polls_that_come_together_cost_one_question(run: Reported) -> None:
    await run.pause(0)
    assert run.reporter.poll_now(1)
    assert run.reporter.poll_now(2)
    await run.pause()
    await run.pause(0)
    assert run.said == [2]


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
