"""The workers and what they run, dispatch, and the schedulers: drain, resize, pause."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.operations.pauses import pauses
from console_svc.site import BAD, Link, Site
from console_svc.web.forms import text_of
from console_svc.web.language import plural, text
from console_svc.web.numbers import MAX_COUNT, MAX_NUMBER, number_of, whole
from console_svc.web.sessions import Session, permitted
from contentgen import InvalidArgument, System, Task, Worker

MAX_TASKS = 1_000
"""Running tasks that are looked at, for the cells of all workers."""
MAX_WORKERS = 200
MAX_SLOTS = 200
"""Cells of a worker."""
SILENT_HEARTBEATS = 6
NO_ACCOUNT = text("Should be the number of an account.")


@dataclass(slots=True)
class Row:
    """A worker with what it has."""

    worker: Worker
    running: list[Task] = field(default_factory=list)
    ahead: list[Task] = field(default_factory=list)
    """What it got and has not begun."""

    @property
    def state(self) -> str:
        """A word for it, of `Worker`'s many."""
        if not self.worker["connected"]:
            return "gone"
        if self.worker["draining"]:
            return "draining"
        return "unhealthy" if self.worker["unhealthy"] else "taking tasks"

    @property
    def free(self) -> int:
        """Slots with nothing in them; of a worker that is gone, none."""
        slots = self.worker["slots"] if self.worker["connected"] else 0
        return min(max(slots - len(self.running), 0), MAX_SLOTS)


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
        return self._site.render(request, "workers.html", values, session, status=BAD if typed else 200)


def rows(workers: Sequence[Worker], tasks: Sequence[Task]) -> list[Row]:
    """In the order of the workers, those that are gone last; what was submitted first comes first."""
    of = {worker["worker_id"]: Row(worker) for worker in workers}
    for task in reversed(tasks):
        if row := of.get(task["worker_id"] or ""):
            (row.running if task["status"] == "processing" else row.ahead).append(task)
    return sorted(of.values(), key=lambda row: row.state == "gone")


def silent(system: System | None) -> set[str]:
    """The schedulers that have said nothing for some heartbeats: they are gone, and were not stopped."""
    if system is None:
        return set()
    patience = timedelta(seconds=SILENT_HEARTBEATS * (system["limits"]["heartbeat_interval"] or 10.0))
    now = datetime.now(UTC)
    return {
        replica["scheduler_id"]
        for replica in system["replicas"]
        if now - datetime.fromisoformat(replica["last_heartbeat_at"]) > patience
    }


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
