"""The workers and what they run, what is paused by whom, and which schedulers are silent: drain, resize, pause."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import Link, NotDone, Page, get, post
from console_svc.web.forms import Form, text_of, typed_of
from console_svc.web.language import plural, text
from console_svc.web.sessions import Session, permitted
from console_svc.web.values import MAX_COUNT, MAX_NUMBER, whole
from contentgen import AuditEvent, DispatchStatus, InvalidArgument, System, Task, Worker

MAX_TASKS = 1_000
"""Running tasks that are looked at, for the cells of all workers."""
MAX_WORKERS = 200
NO_MINUTES = text("Should be a number of minutes.")
NO_ACCOUNT = text("The name or the number of an account.")


class Workers(Page):
    link = Link("/workers", "Workers", 80, "WorkerPoolService/GetWorkerPool")

    @get("/workers")
    async def show(self, request: Request, session: Session) -> Response:
        return await self._page(request, session)

    @post("/workers/drain")
    async def drain(self, request: Request, session: Session) -> Response:
        worker = await session.client.drain_worker(text_of(await request.form(), "worker_id"))
        notice = text("{worker} takes nothing new, and finishes what it runs.")
        return self._site.done(session, notice, "/workers", worker=worker["worker_id"])

    @post("/workers/undrain")
    async def undrain(self, request: Request, session: Session) -> Response:
        worker = await session.client.undrain_worker(text_of(await request.form(), "worker_id"))
        return self._site.done(session, "{worker} takes tasks again.", "/workers", worker=worker["worker_id"])

    @post("/workers/resize")
    async def resize(self, request: Request, session: Session) -> Response:
        form = await _form_of(request)
        slots = form.read("slots", lambda number: whole(number, 0, MAX_COUNT)) or 0  # which the schedulers refuse
        try:
            worker = await session.client.resize_worker(form.plain("worker_id"), slots)
        except InvalidArgument:
            form.problems["slots"] = text("Should be a number from 1 to 1,000.")
            return await self._page(request, session, form)
        notice = plural("{worker} has {n} slot now.", "{worker} has {n} slots now.")
        return self._site.done(session, notice, "/workers", worker=worker["worker_id"], n=worker["slots"])

    @post("/workers/pause")
    async def pause(self, request: Request, session: Session) -> Response:
        """Pauses dispatch of the account in the form; of everything without one."""
        form = await _form_of(request)
        account_id = form.read("account", session.accounts.number, NO_ACCOUNT)
        if form.problems:
            return await self._page(request, session, form)
        await session.client.pause_dispatch(account_id)
        everything = text("Everything is paused. Running tasks continue.")
        notice = text("Account {account} is paused. Running tasks continue.") if account_id else everything
        return self._site.done(session, notice, _back(form), account=session.accounts.typed(account_id or 0))

    @post("/workers/resume")
    async def resume(self, request: Request, session: Session) -> Response:
        form = await _form_of(request)
        account_id = form.read("account", lambda number: whole(number, 0, MAX_NUMBER))  # 0: everything
        if form.problems:
            raise NotDone(NO_ACCOUNT)
        await session.client.resume_dispatch(account_id or None)
        everything = text("Tasks are handed out again.")
        notice = text("Dispatch of account {account} is resumed.") if account_id else everything
        return self._site.done(session, notice, _back(form), account=session.accounts.typed(account_id or 0))

    @post("/workers/maintenance")
    async def maintenance(self, request: Request, session: Session) -> Response:
        """Takes no new tasks for the minutes in the form; without them, takes them again."""
        form = await _form_of(request)
        if not form.plain("minutes"):
            await session.client.set_maintenance()
            return self._site.done(session, text("New tasks are taken again."), "/workers")
        minutes = form.read("minutes", lambda number: whole(number, 1, MAX_COUNT))
        if minutes is None:
            raise NotDone(NO_MINUTES)
        end = datetime.now(UTC) + timedelta(minutes=minutes)
        await session.client.set_maintenance(end, reason=form.plain("reason"))
        return self._site.done(session, text("No new tasks are taken until maintenance ends."), "/workers")

    async def _page(self, request: Request, session: Session, form: Form | None = None) -> Response:
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
            "maintenance": dispatch["maintenance"],
            "system": system,
            "silent": silent(system),
            "for_all": for_all,
            "form": form,
        }
        return self._site.render(request, "workers/page.html", values, session, bad=form)


async def _form_of(request: Request) -> Form:
    return Form(typed_of(await request.form(), ("worker_id", "slots", "account", "back", "minutes", "reason")))


def _back(form: Form) -> str:
    """Returns the page of an account that the form stood on, or this one."""
    path = form.plain("back")
    return path if re.fullmatch(r"/accounts(/\d+)?", path) else "/workers"


SILENT_HEARTBEATS = 6
MAX_SLOTS = 200
"""Cells of a worker."""
MAX_EVENTS = 200
"""Of the newest pauses, to look for those that hold."""


class Pause(NamedTuple):
    """`account_id` 0: of everything. `event`: the call that last asked for it; None if the user may not know it."""

    account_id: int
    event: AuditEvent | None


async def pauses(session: Session, dispatch: DispatchStatus) -> list[Pause]:
    """Returns the pauses, that of everything first. The scheduler keeps no reasons."""
    account_ids = [*([0] if dispatch["all_paused"] else []), *dispatch["paused_account_ids"]]
    events = await _events(session, set(account_ids)) if account_ids else {}
    return [Pause(account_id, events.get(account_id)) for account_id in account_ids]


async def _events(session: Session, account_ids: set[int]) -> dict[int, AuditEvent]:
    events: dict[int, AuditEvent] = {}
    if not session.may("AuditService/ListAuditEvents"):
        return events
    numbers = count(1)
    async for event in session.client.iter_audit_events(method="WorkerPoolService/PauseDispatch"):
        if event["outcome"] == "OK":
            events.setdefault(event["account_id"] or 0, event)
        if account_ids <= events.keys() or next(numbers) == MAX_EVENTS:
            break
    return events


@dataclass(slots=True)
class Row:
    worker: Worker
    running: list[Task] = field(default_factory=list)
    ahead: list[Task] = field(default_factory=list)
    """What it got and has not begun."""

    @property
    def state(self) -> str:
        """One word for the many states of a `Worker`."""
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


def rows(workers: Sequence[Worker], tasks: Sequence[Task]) -> list[Row]:
    """Returns the rows in the order of the workers, those gone last; what was submitted first comes first."""
    rows_by_worker = {worker["worker_id"]: Row(worker) for worker in workers}
    for task in reversed(tasks):
        if row := rows_by_worker.get(task["worker_id"] or ""):
            (row.running if task["status"] == "processing" else row.ahead).append(task)
    return sorted(rows_by_worker.values(), key=lambda row: row.state == "gone")


def silent(system: System | None) -> set[str]:
    """Returns the schedulers that have said nothing for some heartbeats: they are gone, and were not stopped."""
    if system is None:
        return set()
    patience = timedelta(seconds=SILENT_HEARTBEATS * (system["limits"]["heartbeat_interval"] or 10.0))
    now = datetime.now(UTC)
    return {
        replica["scheduler_id"]
        for replica in system["replicas"]
        if now - datetime.fromisoformat(replica["last_heartbeat_at"]) > patience
    }
