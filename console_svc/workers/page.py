"""The workers and what they run, dispatch, and the schedulers: drain, resize, pause."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, Link, Site
from console_svc.web.forms import text_of
from console_svc.web.language import plural, text
from console_svc.web.numbers import MAX_COUNT, MAX_NUMBER, number_of, whole
from console_svc.web.sessions import Session, permitted
from console_svc.workers.state import pauses, rows, silent
from contentgen import InvalidArgument

MAX_TASKS = 1_000
"""Running tasks that are looked at, for the cells of all workers."""
MAX_WORKERS = 200
NO_ACCOUNT = text("Should be the number of an account.")


@dataclass(frozen=True, slots=True)
class Typed:
    """What somebody typed into a form, and what is wrong with it."""

    form: str
    text: str
    problem: str


class Workers:
    link = Link("/workers", "Workers", "WorkerPoolService/GetWorkerPool")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        site = self._site
        return (
            site.page("/workers", self.show),
            site.form("/workers/drain", self.drain),
            site.form("/workers/undrain", self.undrain),
            site.form("/workers/resize", self.resize),
            site.form("/workers/pause", self.pause),
            site.form("/workers/resume", self.resume),
        )

    async def show(self, request: Request, session: Session) -> Response:
        return await self._page(request, session)

    async def drain(self, request: Request, session: Session) -> Response:
        worker = await session.client.drain_worker(await _text(request, "worker_id"))
        session.tell("{worker} takes nothing new, and finishes what it runs.", worker=worker["worker_id"])
        return self._site.see("/workers")

    async def undrain(self, request: Request, session: Session) -> Response:
        worker = await session.client.undrain_worker(await _text(request, "worker_id"))
        session.tell("{worker} takes tasks again.", worker=worker["worker_id"])
        return self._site.see("/workers")

    async def resize(self, request: Request, session: Session) -> Response:
        worker_id, text = await _text(request, "worker_id"), await _text(request, "slots")
        try:
            worker = await session.client.resize_worker(worker_id, _number(text))
        except InvalidArgument:
            typed = Typed(worker_id, text, "Should be a number from 1 to 1,000.")
            return await self._page(request, session, typed)
        session.tell(
            plural("{worker} has {n} slot now.", "{worker} has {n} slots now."),
            worker=worker["worker_id"],
            n=worker["slots"],
        )
        return self._site.see("/workers")

    async def pause(self, request: Request, session: Session) -> Response:
        """Of the account in the form; without one: of everything."""
        text = await _text(request, "account")
        try:
            await session.client.pause_dispatch(number_of(text))
        except ValueError:
            return await self._page(request, session, Typed("pause", text, NO_ACCOUNT))
        if text:
            session.tell("Account {account} is paused. What runs goes on.", account=text)
        else:
            session.tell("Everything is paused. What runs goes on.")
        return self._site.see(_back(await _text(request, "back")))

    async def resume(self, request: Request, session: Session) -> Response:
        text = await _text(request, "account")
        try:
            account_id = whole(text or "0", 0, MAX_NUMBER)  # 0: everything
        except ValueError:
            return self._site.failure(request, session, NO_ACCOUNT, BAD)
        await session.client.resume_dispatch(account_id or None)
        if account_id:
            session.tell("Account {account} goes on.", account=account_id)
        else:
            session.tell("Tasks are handed out again.")
        return self._site.see(_back(await _text(request, "back")))

    async def _page(self, request: Request, session: Session, typed: Typed | None = None) -> Response:
        client, may = session.client, session.may
        for_all = not session.caller["account_ids"]
        pool, dispatch, tasks, system = await asyncio.gather(
            client.get_worker_pool_status(),
            client.get_dispatch_status(),
            permitted(
                may("TaskService/ListTasks"), client.list_tasks(status=["processing", "submitted"], limit=MAX_TASKS)
            ),
            permitted(for_all and may("SystemService/GetSystem"), client.get_system()),
        )
        values = {
            "pool": pool,
            "rows": rows(pool["worker_statuses"][:MAX_WORKERS], tasks or []),
            "more": max(len(pool["worker_statuses"]) - MAX_WORKERS, 0),
            "pauses": await pauses(session, dispatch),
            "all_paused": dispatch["all_paused"],
            "system": system,
            "silent": silent(system),
            "for_all": for_all,
            "typed": typed,
        }
        return self._site.render(request, "workers/page.html", values, session, status=BAD if typed else 200)


async def _text(request: Request, name: str) -> str:
    return text_of(await request.form(), name)


def _number(text: str) -> int:
    """0, which is none, for anything else."""
    try:
        return whole(text, 0, MAX_COUNT)
    except ValueError:
        return 0


def _back(path: str) -> str:
    """The page of an account that the form stood on, or this one."""
    return path if re.fullmatch(r"/accounts(/\d+)?", path) else "/workers"
