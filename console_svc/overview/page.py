"""The first page: what waits, what runs, how it went, and what needs somebody.

That is: contents to review, failed publications, workers that are ill, pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.accounts.page import Hold, held_back
from console_svc.overview.diagnosis import Diagnoses, cards
from console_svc.site import Link, Site
from console_svc.tasks import history
from console_svc.web.language import Texts, language_of, plural
from console_svc.web.live import Move
from console_svc.web.paging import first_of
from console_svc.web.sessions import Session, permitted
from console_svc.workers.page import Pause, pauses
from contentgen import Account, AuditEvent, Content, PublishPoolEntry, WorkerPool

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
            "needs": linked(needs_of(pool, paused, reviews, failed, holds), pages),
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


LIMIT = 100
"""Where there are more, "100+" says enough."""
REVIEW, POOL, WORKERS, ACCOUNTS = "/review", "/pool", "/workers", "/accounts"


@dataclass(frozen=True, slots=True)
class Need:
    """One line. `text` is a text of the page, in which `values` are filled in; `detail` is shown as it is."""

    text: str
    page: str = ""
    """The page where it is done, as the navigation has it."""
    query: str = ""
    level: Literal["warn", "fail"] = "warn"
    values: Mapping[str, object] = field(default_factory=dict)
    detail: str = ""
    event: AuditEvent | None = None
    """The call that brought it about."""

    @property
    def path(self) -> str:
        return self.page + self.query if self.page else ""


def needs_of(
    pool: WorkerPool | None,
    pauses: Sequence[Pause] | None,
    to_review: Sequence[Content] | None,
    failed: Sequence[PublishPoolEntry] | None,
    held_back: Sequence[tuple[Account, Hold]],
) -> Iterator[Need]:
    """Yields what needs somebody. An argument that the user may not ask for is None."""
    yield from _of_workers(pool)
    yield from _of_pauses(pauses or ())
    if pool and free_slots(pool):
        yield from _of_limits(held_back)
    if to_review:
        yield Need(
            plural("{n} content waits for its review.", "{n} contents wait for their review."),
            REVIEW,
            values={"n": count(to_review)},
        )
    if failed:
        detail = f"{failed[0]['title'] or failed[0]['content_id']}: {failed[0]['error'] or ''}"
        values = {"n": count(failed)}
        yield Need(
            plural("{n} publication has failed.", "{n} publications have failed."),
            POOL,
            "?status=failed",
            "fail",
            values=values,
            detail=detail,
        )


def _of_workers(pool: WorkerPool | None) -> Iterator[Need]:
    if pool is None:
        return
    if not pool["num_workers"]:
        yield Need("No worker is connected.", WORKERS, level="fail")
    for worker in pool["worker_statuses"]:
        if worker["unhealthy"]:
            values = {"worker": worker["worker_id"]}
            detail = worker["last_error"] or ""
            yield Need("The CLI of {worker} is broken.", WORKERS, level="fail", values=values, detail=detail)


def _of_pauses(pauses: Sequence[Pause]) -> Iterator[Need]:
    for pause in pauses:
        account_id, event = pause.account_id, pause.event
        if account_id:
            values = {"account": account_id}
            yield Need("Account {account} is paused.", ACCOUNTS, f"/{account_id}", values=values, event=event)
        else:
            yield Need("Everything is paused: no task is handed out.", WORKERS, "#dispatch", event=event)


def _of_limits(held_back: Sequence[tuple[Account, Hold]]) -> Iterator[Need]:
    for account, hold in held_back:
        values = {**hold.values, "account": account["account_id"]}
        yield Need(hold.text, ACCOUNTS, f"/{account['account_id']}", values=values, detail=account["name"])


def free_slots(pool: WorkerPool) -> int:
    """Of workers that take tasks: while there are some, what waits waits for something else."""
    takers = [worker for worker in pool["worker_statuses"] if worker["running"] and not worker["unhealthy"]]
    return sum(max(worker["slots"] - worker["busy_slots"], 0) for worker in takers)


def linked(needs: Iterator[Need], pages: Collection[str]) -> list[Need]:
    """Returns the needs without links to pages that the user does not have."""
    return [need if need.page in pages else replace(need, page="") for need in needs]


def count(things: Sized) -> str:
    return f"{LIMIT}+" if len(things) >= LIMIT else str(len(things))
