"""The first page: what waits, what runs, how it went, and what needs somebody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.accounts.figures import held_back
from console_svc.overview import needs
from console_svc.overview.diagnosis import Diagnoses, cards
from console_svc.overview.needs import LIMIT
from console_svc.site import Link, Site
from console_svc.tasks import history
from console_svc.web.language import Texts, language_of
from console_svc.web.live import Move
from console_svc.web.paging import first_of
from console_svc.web.sessions import Session, permitted
from console_svc.workers.state import Pause, pauses

RUNNING = 12
T = TypeVar("T")


class Overview:
    link = Link("/", "Overview")

    def __init__(self, site: Site) -> None:
        self._site = site
        self._diagnoses = Diagnoses()
        site.when_changed.append(self._diagnoses.forget)

    def routes(self) -> Sequence[BaseRoute]:
        return self._site.page("/", self.show), self._site.page("/moves", self.moves)

    async def show(self, request: Request, session: Session) -> Response:
        client, may = session.client, session.may
        span = history.chosen(request.query_params.get("span"), "24h")
        sees_history = may("TaskService/GetTaskHistory")
        (stats, running, points, today), (pool, paused, failed, reviews, (holds, problems)) = await asyncio.gather(
            asyncio.gather(
                permitted(may("TaskService/GetTaskStats"), client.get_task_stats()),
                permitted(
                    may("TaskService/ListTasks"), client.list_tasks(status=["submitted", "processing"], limit=RUNNING)
                ),
                permitted(sees_history, history.read(client, span)),
                permitted(sees_history, history.today(client)),
            ),
            asyncio.gather(
                permitted(may("WorkerPoolService/GetWorkerPool"), client.get_worker_pool_status()),
                permitted(may("WorkerPoolService/GetDispatchStatus"), _pauses(session)),
                permitted(
                    may("ContentService/ListPublishPool"),
                    _some(client.iter_publish_pool(statuses="failed", page_size=LIMIT + 1)),
                ),
                permitted(
                    may("ContentService/ReviewContent"),
                    _some(client.iter_contents(review_status="pending_review", page_size=LIMIT + 1)),
                ),
                asyncio.gather(held_back(session), self._diagnoses.problems(session)),
            ),
        )
        pages = {link.path for link in self._site.offered(session)}
        values = {
            "stats": stats,
            "running": running,
            "points": points,
            "span": span,
            "spans": history.SPANS,
            "plots": ("counts", "durations"),
            "today": today,
            "success": history.success_rate(today) if today else None,
            "pool": pool,
            "slots": sum(worker["slots"] for worker in pool["worker_statuses"] if worker["connected"]) if pool else 0,
            "needs": needs.linked(needs.found(pool, paused, reviews, failed, holds), pages),
            "findings": cards(problems, Texts(language_of(request)), pages),
        }
        return self._site.render(request, "overview/page.html", values, session)

    async def moves(self, request: Request, session: Session) -> Response:
        """The moves of all tasks as server-sent events; after each the page is told to load its figures anew."""
        language = language_of(request)

        def item(move: Move) -> str:
            def rendered() -> str:
                return self._site.renderer.text(request, "overview/move.html", {"change": move.change})

            return move.rendered(f"item {language}", rendered)

        return self._site.live.stream(request, session, item, then_stale=True)


async def _pauses(session: Session) -> list[Pause]:
    return await pauses(session, await session.client.get_dispatch_status())


async def _some(items: AsyncIterator[T]) -> list[T]:
    """Reads at most `LIMIT` items."""
    first_items, _ = await first_of(items, LIMIT)
    return first_items
