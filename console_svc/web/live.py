"""Moves of tasks for the pages that are open: one watch for each token in use, however many pages it has open.

A page that may have missed moves, or that gets a row whose place only the whole page knows, is *stale*: it loads anew,
at most once a second. A page names the time at which it was made. If its feed has moved since, or has just begun, the
first event is `stale`, so nothing is missed between the page and its stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse

from console_svc.web.sessions import REVOKED, Session, Sessions
from contentgen import ContentGenerationError, Task, TaskChange, Unauthenticated

MAX_WAITING = 1_000
"""Moves that a page may be behind; then it is told to load anew."""
MAX_PAGES_OF_SESSION = 20
MAX_PAGES_OF_TOKEN = 200
"""Live pages; beyond either the oldest of them ends: each is a connection, and others need some, too."""
RETRY_INTERVAL = 1.0
"""Seconds until a watch that failed is begun anew."""
PING_INTERVAL = 15.0
"""Seconds after which a stream that tells nothing is kept open by a comment."""

_log = structlog.get_logger(__name__)


class News(Enum):
    """What a page is told beside moves."""

    STALE = "stale"
    """Moves were missed: it has to load anew."""
    AWAY = "away"
    """The schedulers do not answer."""
    BACK = "back"
    """They do again."""


@dataclass(slots=True)
class Move:
    """A move of a task. What it looks like is rendered once for all pages."""

    change: TaskChange
    _rendered: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        return self.change["task"]

    def rendered(self, key: str, render: Callable[[], str]) -> str:
        """Returns what `render` returned when it was first called for this key."""
        if key not in self._rendered:
            self._rendered[key] = render()
        return self._rendered[key]


Told = Move | News


class _Feed:
    """The watch of one token, and the pages that it feeds."""

    def __init__(self, session: Session, revoked: Callable[[], None]) -> None:
        """`revoked`: called when the schedulers do not know the token any more."""
        self.pages: dict[asyncio.Queue[Told], Session] = {}  # the oldest first
        self.connected = self.away = False
        self.last_moved = 0.0
        self.job = asyncio.create_task(self._run(session, revoked))

    async def _run(self, session: Session, revoked: Callable[[], None]) -> None:
        while True:
            try:
                async with session.client.watch(skip_present=True, patience=RETRY_INTERVAL) as watch:
                    self._connected()
                    async for change in watch:
                        self.last_moved = time.time()
                        self._tell(Move(change))
            except Unauthenticated:
                revoked()
                return
            except ContentGenerationError as error:
                _log.info("a watch ended, and begins anew", action="watch", error=str(error))
            self.connected, self.away = False, True
            self._tell(News.AWAY)
            await asyncio.sleep(RETRY_INTERVAL)

    def add(self, page: asyncio.Queue[Told], session: Session) -> None:
        """Feeds one more page, in the place of an older one if the session or the token has too many."""
        session_pages = [older_page for older_page, owner in self.pages.items() if owner is session]
        if len(session_pages) >= MAX_PAGES_OF_SESSION:
            self._end(session_pages[0])
        elif len(self.pages) >= MAX_PAGES_OF_TOKEN:
            self._end(next(iter(self.pages)))
        self.pages[page] = session

    def _end(self, page: asyncio.Queue[Told]) -> None:
        del self.pages[page]
        wake(page)

    def _connected(self) -> None:
        self.connected = True
        if self.away:
            self.away = False
            self._tell(News.BACK)
        self._tell(News.STALE)  # nobody knows what moved before

    def _tell(self, item: Told) -> None:
        for page in self.pages:
            if page.full():
                while not page.empty():
                    page.get_nowait()
                item = News.STALE
            page.put_nowait(item)


def wake(page: asyncio.Queue[Told]) -> None:
    """Makes a page look whether it has ended."""
    if page.empty():
        page.put_nowait(News.STALE)


class LiveTasks:
    """Feeds the open pages with moves of tasks. Runs on the event loop."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._feeds: dict[str | None, _Feed] = {}

    @property
    def watches(self) -> int:
        return len(self._feeds)

    @property
    def pages(self) -> int:
        return sum(len(feed.pages) for feed in self._feeds.values())

    @asynccontextmanager
    async def _follow(self, session: Session, since: float) -> AsyncIterator[asyncio.Queue[Told]]:
        """Yields a queue of the moves that a session may see, for a page of that time (UNIX seconds)."""
        feed = self._feeds.get(session.owner) or self._begin(session)
        page: asyncio.Queue[Told] = asyncio.Queue(MAX_WAITING)
        if feed.away:
            page.put_nowait(News.AWAY)
        elif feed.connected and feed.last_moved >= since:
            page.put_nowait(News.STALE)

        wake_page = partial(wake, page)
        feed.add(page, session)
        session.when_ended.add(wake_page)
        try:
            yield page
        finally:
            session.when_ended.discard(wake_page)
            feed.pages.pop(page, None)
            if not feed.pages:
                feed.job.cancel()
                if self._feeds.get(session.owner) is feed:
                    del self._feeds[session.owner]

    def _begin(self, session: Session) -> _Feed:
        def revoked() -> None:
            del self._feeds[session.owner]
            self._sessions.end(session, REVOKED, everywhere=True)

        feed = self._feeds[session.owner] = _Feed(session, revoked)
        return feed

    def stream(
        self, request: Request, session: Session, row: Callable[[Move], str], *, then_stale: bool = False
    ) -> StreamingResponse:
        """Returns a page's server-sent events: rows of tasks that have moved (`row`: empty, it shows none), and news.

        They end with the session, and when newer pages are too many. An event without a name holds HTML that htmx puts
        into the page; those with a name are events of the page. `then_stale`: after each row the page is told to load
        the rest of it anew.
        """

        async def events() -> AsyncIterator[str]:
            async with self._follow(session, _since(request)) as moves:
                yield ": open\n\n"
                while (seconds := self._seconds_left(session, moves)) > 0:
                    try:
                        item = await asyncio.wait_for(moves.get(), min(PING_INTERVAL, seconds))
                    except TimeoutError:
                        yield ": still here\n\n"
                        continue
                    if self._seconds_left(session, moves) <= 0:
                        return
                    if isinstance(item, News):
                        yield _named(item)
                    elif html := row(item):
                        yield "".join(f"data: {line}\n" for line in html.splitlines()) + "\n"
                        if then_stale:
                            yield _named(News.STALE)

        headers = {"x-accel-buffering": "no"}  # by a proxy
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    def _seconds_left(self, session: Session, page: asyncio.Queue[Told]) -> float:
        feed = self._feeds.get(session.owner)
        return self._sessions.seconds_left(session) if feed and page in feed.pages else 0.0

    async def close(self) -> None:
        jobs = [feed.job for feed in self._feeds.values()]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


def _named(news: News) -> str:
    return f"event: {news.value}\ndata:\n\n"


def _since(request: Request) -> float:
    """Returns when the page of a stream was made, as its address says; 0 if it does not."""
    try:
        return float(request.query_params.get("since", ""))
    except ValueError:
        return 0.0
