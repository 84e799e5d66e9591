"""The first page: whether all is well, what waits, what runs, how it went."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from console_svc.accounts.page import held_back
from console_svc.overview.diagnosis import Diagnoses
from console_svc.overview.verdict import LIMIT, Facts, verdict
from console_svc.site import Link, Page, Site, get
from console_svc.tasks import history
from console_svc.web.language import Texts, language_of
from console_svc.web.live import Move
from console_svc.web.paging import first_of
from console_svc.web.sessions import Session, permitted
from console_svc.workers.page import Pause, pauses

RUNNING = 12


class Overview(Page):
    link = Link("/", "Overview", 10, group="")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._diagnoses = Diagnoses()
        site.when_changed.append(self._diagnoses.forget)

    @get("/")
    async def show(self, request: Request, session: Session) -> Response:
        client, may = session.client, session.may
        span = history.chosen(request.query_params.get("span"), "24h")
        sees_history = may("TaskService/GetTaskHistory")
        held_tasks = client.list_tasks(session.account_id, status=["submitted", "processing"], limit=RUNNING)
        failed_entries = client.iter_publish_pool(session.account_id, statuses="failed", page_size=LIMIT + 1)
        (stats, running, points, today), (pool, paused, failed, holds, examined) = await asyncio.gather(
            asyncio.gather(
                permitted(may("TaskService/GetTaskStats"), client.get_task_stats(session.account_id)),
                permitted(may("TaskService/ListTasks"), held_tasks),
                permitted(sees_history, history.read(client, span, session.account_id)),
                permitted(sees_history, history.today(client, session.account_id)),
            ),
            asyncio.gather(
                permitted(may("WorkerPoolService/GetWorkerPool"), client.get_worker_pool_status()),
                permitted(may("WorkerPoolService/GetDispatchStatus"), _pauses(session)),
                permitted(may("ContentService/ListPublishPool"), first_of(failed_entries, LIMIT)),
                held_back(session),
                self._diagnoses.examined(session),
            ),
        )
        pages = {link.path for link in self._site.offered(session)}
        facts = Facts(examined, pool, paused or (), failed or ((), False), holds)
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
            "reviews": session.standing.counts.get("/review"),
            "problems": verdict(facts, Texts(language_of(request))),
            "pages": pages,
            "is_operator": session.caller["role"] in {"", "operator"},
            "sees_workers": pool is not None,
        }
        return self._site.render(request, "overview/page.html", values, session)

    @get("/moves")
    async def moves(self, request: Request, session: Session) -> Response:
        """Streams all tasks' moves as server-sent events; after each the page is told to load its figures anew."""
        language = language_of(request)

        def item(move: Move) -> str:
            values = {"change": move.change, "session": session}
            render = partial(self._site.renderer.text, request, "overview/move.html", values)
            return move.rendered(f"item {language}", render)

        return self._site.live.stream(request, session, item, then_stale=True)


async def _pauses(session: Session) -> list[Pause]:
    return await pauses(session, await session.client.get_dispatch_status())
