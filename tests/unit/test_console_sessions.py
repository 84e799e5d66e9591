"""Live pages of the console end with their session, whatever ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import cast

import pytest
from starlette.requests import Request

from console_svc.web.live import MAX_PAGES_OF_SESSION, MAX_PAGES_OF_TOKEN, LiveTasks
from console_svc.web.sessions import (
    AGE_LIMIT,
    CROWDED_OUT,
    IDLE,
    IDLE_LIMIT,
    MAX_OF_TOKEN,
    OLD,
    SIGNED_OUT,
    Session,
    Sessions,
)
from contentgen import AsyncContentGenerationClient, Caller

CALLER = Caller(name="a", role="viewer", account_ids=[], methods=[], token_required=True)
PATIENCE_S = 60.0


class Desk:
    """Sessions on a clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.sessions = Sessions(lambda: time.monotonic() + self.ahead)
        self.live = LiveTasks(self.sessions)
        self._client = AsyncContentGenerationClient("127.0.0.1:1")

    def begin(self) -> Session:
        return self.sessions.begin("t", self._client, CALLER)

    async def close(self) -> None:
        await self.live.close()
        await self._client.close()


def _signs_out(desk: Desk, session: Session) -> None:
    desk.sessions.end(session, SIGNED_OUT)


def _signs_out_everywhere(desk: Desk, _: Session) -> None:
    desk.sessions.end(desk.begin(), SIGNED_OUT, everywhere=True)


def _is_crowded_out(desk: Desk, _: Session) -> None:
    for _number in range(MAX_OF_TOKEN):
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
async def test_a_live_page_ends_with_its_session(happens: Callable[[Desk, Session], None], why: str) -> None:
    desk = Desk()
    session = desk.begin()
    request = Request({"type": "http", "query_string": b"", "headers": []})
    events = desk.live.stream(request, session, lambda _: "").body_iterator
    assert await anext(aiter(events)) == ": open\n\n"
    if happens in {_is_idle, _is_old}:
        happens(desk, session)
    else:
        asyncio.get_running_loop().call_later(0.1, happens, desk, session)
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            assert "data" not in event or event == "event: away\ndata:\n\n"
    assert (desk.live.pages, desk.sessions.why_ended(session.key)) == (0, why)
    await desk.close()


async def test_the_oldest_live_page_ends_where_a_session_or_a_token_has_too_many() -> None:
    desk = Desk()
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
    await desk.close()


def _page(desk: Desk, session: Session) -> AsyncGenerator[str, None]:
    request = Request({"type": "http", "query_string": b"", "headers": []})
    return cast("AsyncGenerator[str, None]", desk.live.stream(request, session, lambda _: "").body_iterator)


async def _opened(pages: Sequence[AsyncGenerator[str, None]]) -> None:
    for page in pages:
        assert await anext(page) == ": open\n\n"


async def _ended(page: AsyncGenerator[str, None]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        assert [event async for event in page] == []
