"""The first page: what waits, what runs, and what needs somebody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from console_svc.sessions import Session
from console_svc.site import Site
from contentgen.client.errors import RequestError

RECENT = 10
MOST = 100
T = TypeVar("T")


class Overview:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, session: Session) -> Response:
        client = session.client
        stats, running, recent = await asyncio.gather(
            client.get_task_stats(), client.list_tasks(status=["submitted", "processing"], limit=RECENT), client.list_tasks(limit=RECENT)
        )
        pool, dispatch, failed, reviews = await asyncio.gather(
            _permitted(client.get_worker_pool_status()),
            _permitted(client.get_dispatch_status()),
            _permitted(_first(client.iter_publish_pool(statuses="failed", page_size=MOST))),
            _permitted(_first(client.iter_contents(review_status="pending_review", page_size=MOST))),
        )
        values = {
            "stats": stats,
            "running": running,
            "recent": recent,
            "pool": pool,
            "dispatch": dispatch,
            "failed_publications": failed,
            "to_review": reviews,
            "most": MOST,
        }
        return self._site.render(request, "overview.html", values, session)


async def _permitted(call: Awaitable[T]) -> T | None:
    """What it returns. None if the token may not ask for it."""
    try:
        return await call
    except RequestError as error:
        if error.code != "PERMISSION_DENIED":
            raise
        return None


async def _first(found: AsyncIterator[T]) -> list[T]:
    """`MOST` of them at most."""
    some: list[T] = []
    async for one in found:
        some.append(one)
        if len(some) == MOST:
            break
    return some
