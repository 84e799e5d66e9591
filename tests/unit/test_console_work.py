"""Long work in the background of the console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from console_svc.web.sessions import Session
from console_svc.web.work import MAX_WORKS, Work, Works, at_once
from contentgen import Unavailable

TITLE = ("Retrying {n} tasks", {"n": 1})


@pytest.fixture
async def works() -> AsyncIterator[Works]:
    works = Works()
    yield works
    await works.close()


def of(token: str | None) -> Session:
    return Session("key", "csrf", token, cast("Any", None), cast("Any", None), 0.0, 0.0)


async def done(work: Work) -> None:
    work.done += 1


async def for_ever(work: Work) -> None:
    work.done += 1
    await asyncio.Event().wait()


async def test_the_same_form_begins_one_work(works: Works) -> None:
    first = works.begin(of("a"), "k", TITLE, done, total=1, back="/tasks")
    again = works.begin(of("a"), "k", TITLE, done, total=1, back="/tasks")
    assert again is first
    assert first.job
    await first.job
    assert (first.done, first.percent, first.ended) == (1, 100, True)


async def test_a_work_is_for_those_with_its_token(works: Works) -> None:
    work = works.begin(of("a"), "k", TITLE, done, total=1, back="/tasks")
    assert works.find(of("a"), "k") is work
    assert works.find(of("b"), "k") is None
    assert works.find(of(None), "k") is None


async def test_a_work_is_stopped_and_says_so(works: Works) -> None:
    work = works.begin(of("a"), "k", TITLE, for_ever, total=2, back="/tasks")
    await asyncio.sleep(0)
    work.stop()
    assert work.job
    await asyncio.wait([work.job])
    assert (work.done, work.percent, work.ended) == (1, 50, True)
    assert work.stopped == ("You have stopped it.", {})


async def test_what_ends_a_work_is_said(works: Works) -> None:
    async def away(_: Work) -> None:
        raise Unavailable("nobody answers")

    async def broken(_: Work) -> None:
        raise ZeroDivisionError

    for key, run, why in (("a", away, "It stopped: {why}"), ("b", broken, "It stopped by a defect of the console")):
        work = works.begin(of("a"), key, TITLE, run, total=1, back="/tasks")
        assert work.job
        await work.job
        assert work.stopped
        assert work.stopped[0].startswith(why)


async def test_those_that_ended_are_forgotten_and_no_others(works: Works) -> None:
    running = works.begin(of("a"), "running", TITLE, for_ever, total=1, back="/tasks")
    for n in range(MAX_WORKS + 5):
        job = works.begin(of("a"), str(n), TITLE, done, total=1, back="/tasks").job
        assert job
        await job
    assert works.find(of("a"), "running") is running
    assert works.find(of("a"), "0") is None
    assert works.find(of("a"), str(MAX_WORKS + 4))


async def test_no_more_run_than_are_allowed() -> None:
    running = most = 0

    async def one() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with at_once(3) as begin:
        for _ in range(20):
            await begin(one())
    assert (most, running) == (3, 0)
