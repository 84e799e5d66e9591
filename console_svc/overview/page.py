"""The first page: what waits, what runs, how it went, and what needs somebody, such as contents to review."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence, Sized
from functools import partial
from typing import Literal, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from console_svc.accounts.page import held_back
from console_svc.overview.diagnosis import Diagnoses, cards
from console_svc.site import Link, Page, Site, get
from console_svc.tasks import history
from console_svc.web.language import PageText, Texts, filled, language_of, plural, text
from console_svc.web.live import Move
from console_svc.web.paging import first_of
from console_svc.web.sessions import Session, permitted
from console_svc.workers.page import Pause, pauses
from contentgen import Account, AuditEvent, Content, PublishPoolEntry, WorkerPool

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
        pending_contents = client.iter_contents(session.account_id, review_status="pending_review", page_size=LIMIT + 1)
        (stats, running, points, today), (pool, paused, failed, reviews, (holds, problems)) = await asyncio.gather(
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
                permitted(may("ContentService/ReviewContent"), first_of(pending_contents, LIMIT)),
                asyncio.gather(held_back(session), self._diagnoses.problems(session)),
            ),
        )
        pages = {link.path for link in self._site.offered(session)}
        needs = needs_of(pool, paused or (), reviews[0] if reviews else (), failed[0] if failed else (), holds)
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
            "needs": [need if need.page in pages else need._replace(page="") for need in needs],
            "findings": cards(problems, Texts(language_of(request)), pages),
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


LIMIT = 100
"""Where there are more, "100+" says enough."""
REVIEW, POOL, WORKERS, ACCOUNTS = "/review", "/pool", "/workers", "/accounts"


class Need(NamedTuple):
    """One line. `text` is a text of the page; `detail` is shown as it is."""

    text: str
    page: str = ""
    """The page where it is done, as the navigation has it."""
    query: str = ""
    level: Literal["warn", "fail"] = "warn"
    detail: str = ""
    event: AuditEvent | None = None
    """The call that brought it about."""

    @property
    def path(self) -> str:
        return self.page + self.query if self.page else ""


def needs_of(
    pool: WorkerPool | None,
    pauses: Sequence[Pause],
    to_review: Sequence[Content],
    failed: Sequence[PublishPoolEntry],
    held_back: Sequence[tuple[Account, PageText]],
) -> Iterator[Need]:
    """Yields what needs somebody, as far as the user may ask for it."""
    if pool:
        yield from _of_workers(pool)
    yield from map(_of_pause, pauses)
    if pool and free_slots(pool):
        for account, hold in held_back:
            yield Need(hold, ACCOUNTS, f"/{account['account_id']}", detail=account["name"])
    if to_review:
        waiting = plural("{n} content waits for its review.", "{n} contents wait for their review.")
        yield Need(filled(waiting, n=count(to_review)), REVIEW)
    if failed:
        failures = plural("{n} publication has failed.", "{n} publications have failed.")
        detail = f"{failed[0]['title'] or failed[0]['content_id']}: {failed[0]['error'] or ''}"
        yield Need(filled(failures, n=count(failed)), POOL, "?status=failed", "fail", detail=detail)


def _of_workers(pool: WorkerPool) -> Iterator[Need]:
    if not pool["num_workers"]:
        yield Need("No worker is connected.", WORKERS, level="fail")
    for worker in pool["worker_statuses"]:
        if worker["unhealthy"]:
            broken = filled(text("The CLI of {worker} is broken."), worker=worker["worker_id"])
            yield Need(broken, WORKERS, level="fail", detail=worker["last_error"] or "")


def _of_pause(pause: Pause) -> Need:
    account_id, event = pause.account_id, pause.event
    if not account_id:
        return Need("Everything is paused: no task is handed out.", WORKERS, "#dispatch", event=event)
    paused = filled(text("Account {account} is paused."), account=account_id)
    return Need(paused, ACCOUNTS, f"/{account_id}", event=event)


def free_slots(pool: WorkerPool) -> int:
    """Counts those of workers that take tasks: while there are some, what waits waits for something else."""
    takers = [worker for worker in pool["worker_statuses"] if worker["running"] and not worker["unhealthy"]]
    return sum(max(worker["slots"] - worker["busy_slots"], 0) for worker in takers)


def count(things: Sized) -> str:
    return f"{LIMIT}+" if len(things) >= LIMIT else str(len(things))
