"""Moves of tasks, for the pages that are open: one watch a token, however many pages it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from console_svc.sessions import Session
from contentgen.client.errors import ContentGenerationError
from contentgen.client.results import TaskChange

MAX_WAITING = 1_000
"""Moves that a page may be behind; then it is told to load anew."""
RETRY_INTERVAL = 1.0
"""Seconds until a watch that failed is begun anew."""

Told = TaskChange | None
"""A move; None: some were missed, so that the page has to load anew."""

_log = structlog.get_logger(__name__)


class _Feed:
    """The watch of one token, and the pages that it feeds."""

    def __init__(self, session: Session) -> None:
        self.pages: set[asyncio.Queue[Told]] = set()
        self.job = asyncio.create_task(self._run(session))

    async def _run(self, session: Session) -> None:
        while True:
            try:
                async with session.client.watch(patience=None) as watch:
                    async for change in watch:
                        self._tell(change)
            except ContentGenerationError as error:
                _log.warning("a watch has failed, and begins anew", action="watch", error=str(error))
            await asyncio.sleep(RETRY_INTERVAL)
            self._tell(None)

    def _tell(self, told: Told) -> None:
        for page in self.pages:
            if page.full():
                while not page.empty():
                    page.get_nowait()
                told = None
            page.put_nowait(told)


class LiveTasks:
    """Runs on the event loop."""

    def __init__(self) -> None:
        self._feeds: dict[str | None, _Feed] = {}

    @asynccontextmanager
    async def follow(self, session: Session) -> AsyncIterator[asyncio.Queue[Told]]:
        """A queue of the moves that a session may see, from now on."""
        feed = self._feeds.get(session.token)
        if feed is None:
            feed = self._feeds[session.token] = _Feed(session)
        page: asyncio.Queue[Told] = asyncio.Queue(MAX_WAITING)
        feed.pages.add(page)
        try:
            yield page
        finally:
            feed.pages.discard(page)
            if not feed.pages:
                self._feeds.pop(session.token, None)
                feed.job.cancel()

    async def close(self) -> None:
        jobs = [feed.job for feed in self._feeds.values()]
        for job in jobs:
            job.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*jobs, return_exceptions=True)
