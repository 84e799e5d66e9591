"""The first page: what waits, what runs, and what needs somebody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.sessions import Session
from console_svc.site import Link, Site

RECENT = 10
LIMIT = 100
T = TypeVar("T")


class Overview:
    link = Link("/", "Overview")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return (self._site.page("/", self.show),)

    async def show(self, request: Request, session: Session) -> Response:
        client, may = session.client, session.may
        stats, running, recent, pool, dispatch, failed, reviews = await asyncio.gather(
            _if(may("TaskService/GetTaskStats"), client.get_task_stats()),
            _if(may("TaskService/ListTasks"), client.list_tasks(status=["submitted", "processing"], limit=RECENT)),
            _if(may("TaskService/ListTasks"), client.list_tasks(limit=RECENT)),
            _if(may("WorkerPoolService/GetWorkerPool"), client.get_worker_pool_status()),
            _if(may("WorkerPoolService/GetDispatchStatus"), client.get_dispatch_status()),
            _if(
                may("ContentService/ListPublishPool"),
                _some(client.iter_publish_pool(statuses="failed", page_size=LIMIT)),
            ),
            _if(
                may("ContentService/ListContents"),
                _some(client.iter_contents(review_status="pending_review", page_size=LIMIT)),
            ),
        )
        values = {
            "stats": stats,
            "running": running,
            "recent": recent,
            "pool": pool,
            "dispatch": dispatch,
            "failed_publications": failed,
            "to_review": reviews,
            "most": LIMIT,
        }
        return self._site.render(request, "overview.html", values, session)


async def _if(allowed: bool, call: Awaitable[T]) -> T | None:
    """What it returns; None, and no call, where the user may not ask for it."""
    if allowed:
        return await call
    if asyncio.iscoroutine(call):
        call.close()
    return None


async def _some(found: AsyncIterator[T]) -> list[T]:
    """`LIMIT` of them at most."""
    some: list[T] = []
    async for one in found:
        some.append(one)
        if len(some) == LIMIT:
            break
    return some
