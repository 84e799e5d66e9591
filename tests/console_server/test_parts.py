"""Routes, pages of lists, sessions, and long work of the console."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.routing import Match, Route

from console_svc.app import routes
from console_svc.config import ConsoleSettings
from console_svc.metrics import ConsoleMetrics
from console_svc.site import Site
from console_svc.web.language import PageText
from console_svc.web.live import MAX_PAGES_OF_SESSION, MAX_PAGES_OF_TOKEN, LiveTasks
from console_svc.web.paging import page_of
from console_svc.web.sessions import (
    AGE_LIMIT,
    CROWDED_OUT,
    IDLE,
    IDLE_LIMIT,
    MAX_OF_OWNER,
    OLD,
    SIGNED_OUT,
    Session,
    Sessions,
)
from console_svc.web.values import bound_ids_of_paths
from console_svc.web.work import MAX_KEPT, Work, WorkRegistry, run_for_all
from contentgen import AsyncContentGenerationClient, Caller, Unavailable
from tests.harness.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


# Addresses of the console.


def test_no_page_answers_at_the_address_of_another_one() -> None:
    bound_ids_of_paths()
    all_routes = routes(Site(ConsoleSettings(), cast("Any", None), ConsoleMetrics()))
    for route in (route for route in all_routes if isinstance(route, Route)):
        (method, *_) = sorted(route.methods or ())
        scope = {"type": "http", "path": re.sub("{.*?}", "1", route.path), "method": method}
        assert next(other for other in all_routes if other.matches(scope)[0] is Match.FULL) is route, route.path


# Lists of the console, a page at a time.


@pytest.mark.parametrize(
    ("number", "length", "page", "more"), [(1, 50, 50, False), (1, 51, 50, True), (2, 51, 1, False), (3, 51, 0, False)]
)
async def test_a_list_is_cut_into_pages(number: int, length: int, page: int, more: bool) -> None:
    async def items() -> AsyncIterator[int]:
        for item in range(length):
            yield item

    entries, follows = await page_of(items(), number)
    assert (len(entries), follows) == (page, more)


# Live pages of the console end with their session, whatever ends it.


CALLER = Caller(name="a", role="viewer", account_ids=[], methods=[], token_required=True)


class Desk:
    """Sessions on a clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.clock: Callable[[], float] = time.monotonic
        self.sessions = Sessions(lambda: self.clock() + self.ahead)
        self.live = LiveTasks(self.sessions)
        self._client = AsyncContentGenerationClient("127.0.0.1:1")

    def begin(self, owner: str = "t") -> Session:
        return self.sessions.begin(owner, self._client, CALLER)

    async def close(self) -> None:
        await self.live.close()
        await self._client.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.close()


def _signs_out(desk: Desk, session: Session) -> None:
    desk.sessions.end(session, SIGNED_OUT)


def _signs_out_everywhere(desk: Desk, _: Session) -> None:
    desk.sessions.end(desk.begin(), SIGNED_OUT, everywhere=True)


def _is_crowded_out(desk: Desk, _: Session) -> None:
    for _number in range(MAX_OF_OWNER):
        desk.begin()


def _is_idle(desk: Desk, _: Session) -> None:
    desk.ahead += IDLE_LIMIT - 0.2


def _is_old(desk: Desk, session: Session) -> None:
    desk.ahead += AGE_LIMIT - 0.2
    session.used = session.began + AGE_LIMIT - 1


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (_signs_out, SIGNED_OUT),
        (_signs_out_everywhere, SIGNED_OUT),
        (_is_crowded_out, CROWDED_OUT),
        (_is_idle, IDLE),
        (_is_old, OLD),
    ],
)
async def test_a_live_page_ends_with_its_session(
    desk: Desk, happens: Callable[[Desk, Session], None], why: str
) -> None:
    session = desk.begin()
    page = _page(desk, session)
    await _opened([page])
    if happens in {_is_idle, _is_old}:
        happens(desk, session)
    else:
        asyncio.get_running_loop().call_later(0.1, happens, desk, session)
    async with asyncio.timeout(PATIENCE_S):
        async for event in page:
            assert "data" not in event or event == "event: away\ndata:\n\n"
    assert (desk.live.pages, desk.sessions.why_ended(session.key)) == (0, why)


async def test_the_oldest_live_page_ends_where_a_session_or_a_token_has_too_many(desk: Desk) -> None:
    sessions = [desk.begin() for _ in range(MAX_PAGES_OF_TOKEN // MAX_PAGES_OF_SESSION + 1)]
    pages = [_page(desk, sessions[0]) for _ in range(MAX_PAGES_OF_SESSION)]
    await _opened(pages)
    newer = [_page(desk, sessions[0])]
    await _opened(newer)
    await _ended(pages[0])
    assert desk.live.pages == MAX_PAGES_OF_SESSION
    newer += [_page(desk, session) for session in sessions[1:] for _ in range(MAX_PAGES_OF_SESSION)]
    await _opened(newer[1:])
    for page in pages[1:]:
        await _ended(page)
    assert desk.live.pages == MAX_PAGES_OF_TOKEN
    for page in newer:
        await page.aclose()


def _page(desk: Desk, session: Session) -> AsyncGenerator[str, None]:
    request = Request({"type": "http", "query_string": b"", "headers": []})
    return cast("AsyncGenerator[str, None]", desk.live.stream(request, session, lambda _: "").body_iterator)


async def _opened(pages: Sequence[AsyncGenerator[str, None]]) -> None:
    for page in pages:
        assert await anext(page) == ": open\n\n"


async def _ended(page: AsyncGenerator[str, None]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        assert [event async for event in page] == []


def test_a_session_lives_by_use_and_ends_when_it_is_idle_and_when_it_is_old(desk: Desk) -> None:
    desk.clock = lambda: 0.0
    idle_session, old_session = desk.begin(), desk.begin()
    while desk.ahead < AGE_LIMIT:
        assert desk.sessions.find(old_session.key) is old_session
        desk.ahead += IDLE_LIMIT - 1
    assert desk.sessions.find(idle_session.key) is None
    assert desk.sessions.find(old_session.key) is None


def test_the_session_that_was_idle_for_longest_ends_when_there_are_too_many(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console_svc.web.sessions.MAX_SESSIONS", 3)
    first_session, *_ = [desk.begin(f"t{number}") for number in range(4)]
    assert len(desk.sessions) == 3
    assert desk.sessions.find(first_session.key) is None


def test_a_token_that_begins_many_sessions_ends_none_but_its_own(desk: Desk) -> None:
    find = desk.sessions.find
    operator, first_session, used_session = (desk.begin(token) for token in ("o", "v", "v"))
    for _ in range(MAX_OF_OWNER - 2):
        desk.begin("v")
    assert find(used_session.key) is used_session
    assert find(first_session.key) is first_session
    for _ in range(MAX_OF_OWNER - 1):
        desk.begin("v")
    assert len(desk.sessions) == 1 + MAX_OF_OWNER
    assert find(operator.key) is operator
    assert find(first_session.key) is first_session
    assert find(used_session.key) is None


# Long work in the background of the console.


TITLE = PageText("Retrying tasks")


@pytest.fixture
async def works() -> AsyncIterator[WorkRegistry]:
    works = WorkRegistry()
    yield works
    await works.close()


def of(token: str | None) -> Session:
    return Session("key", "csrf", token, cast("Any", None), cast("Any", None), 0.0, 0.0)


async def done(work: Work) -> None:
    work.done += 1


async def for_ever(work: Work) -> None:
    work.done += 1
    await asyncio.Event().wait()


async def test_the_same_form_begins_one_work(works: WorkRegistry) -> None:
    first = works.begin(of("a"), "k", TITLE, done, total=1, back="/tasks")
    again = works.begin(of("a"), "k", TITLE, done, total=1, back="/tasks")
    assert again is first
    assert first.job
    await first.job
    assert (first.done, first.percent, first.ended) == (1, 100, True)


async def test_a_work_is_for_those_with_its_token(works: WorkRegistry) -> None:
    work = works.begin(of("a"), "k", TITLE, done, total=1, back="/tasks")
    assert works.find(of("a"), "k") is work
    assert works.find(of("b"), "k") is None
    assert works.find(of(None), "k") is None


async def test_a_work_is_stopped_and_says_so(works: WorkRegistry) -> None:
    work = works.begin(of("a"), "k", TITLE, for_ever, total=2, back="/tasks")
    await asyncio.sleep(0)
    work.stop()
    assert work.job
    await asyncio.wait([work.job])
    assert (work.done, work.percent, work.ended) == (1, 50, True)
    assert work.stopped == "You have stopped it."


async def test_what_ends_a_work_is_said(works: WorkRegistry) -> None:
    async def away(_: Work) -> None:
        raise Unavailable("nobody answers")

    async def broken(_: Work) -> None:
        raise ZeroDivisionError

    for key, run, why in (("a", away, "It stopped: {why}"), ("b", broken, "It stopped by a defect of the console")):
        work = works.begin(of("a"), key, TITLE, run, total=1, back="/tasks")
        assert work.job
        await work.job
        assert work.stopped.startswith(why)


async def test_those_that_ended_are_forgotten_and_no_others(works: WorkRegistry) -> None:
    running = works.begin(of("a"), "running", TITLE, for_ever, total=1, back="/tasks")
    for n in range(MAX_KEPT + 5):
        job = works.begin(of("a"), str(n), TITLE, done, total=1, back="/tasks").job
        assert job
        await job
    assert works.find(of("a"), "running") is running
    assert works.find(of("a"), "0") is None
    assert works.find(of("a"), str(MAX_KEPT + 4))


async def test_no_more_run_than_are_allowed() -> None:
    running = most = 0
    ended: list[int] = []

    async def one(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        ended.append(item)

    await run_for_all(range(20), 3, one)
    assert (most, running, ended) == (3, 0, [*range(20)])
