"""Retries, cancels or runs now many tasks: a page says what will happen, another one how far it is."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, FORBIDDEN, NOT_FOUND, Site
from console_svc.tasks.list import MOVES, PRIORITIES, TaskSearch
from console_svc.web.language import plural, refused, text
from console_svc.web.sessions import Notice, Session
from console_svc.web.values import moment
from console_svc.web.work import Run, Work, at_once, patiently, soon
from contentgen import InvalidStateException, RequestError, Task

BATCH = 500
"""Tasks that one bulk call moves; progress is shown between two."""
MAX_CALLS = 8
"""Calls at a time."""
MAX_TICKED = 1_000
SHOWN = 50
SOON = 1.5
"""Seconds that the form waits for its work to end before its own page shows how far it is."""
PENDING, RUNNING = ("pending",), ("submitted", "processing")
RETRYABLE = ("failed", "timeout")
NOTHING_TICKED = text("Tick some tasks first, or all that match.")
NO_WORK = text("This work is not known any more. Look at the list for what it has done.")


@dataclass(frozen=True, slots=True)
class _Order:
    """What the form says. No `ids`: all that match `search`. `extra` are those that `more` is about."""

    do: str
    search: TaskSearch
    ids: Sequence[str]
    extra: frozenset[str]
    more: bool
    back: str

    @classmethod
    def read(cls, data: ImmutableMultiDict[str, Any]) -> _Order:
        search = TaskSearch(data)
        more = data.get("more") == "yes"
        extra = list(map(str, data.getlist("extra"))) if more else []
        ids = () if data.get("all") == "yes" else (*map(str, data.getlist("task")), *extra)[:MAX_TICKED]
        back = f"/tasks?{urlencode(search.query)}" if search.query else "/tasks"
        return cls(str(data.get("do", "")), search, ids, frozenset(extra), more, back)


class TaskMoves:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return self._site.page("/tasks/move", self.ask), self._site.form(
            "/tasks/move",
            self.move,
            calls=False,  # its work waits for a scheduler itself
        )

    async def ask(self, request: Request, session: Session) -> Response:
        """Counts the tasks, and shows what will happen."""
        data = request.query_params
        order = _Order.read(data)
        if refusal := self._refused(request, session, order, data):
            return refusal
        values: dict[str, Any] = {
            "order": order,
            "key": secrets.token_urlsafe(16),
            "now": datetime.now(UTC).isoformat(),
            "shown": SHOWN,
        }
        if order.ids:
            statuses = await session.client.get_task_statuses(order.ids)
            tasks = [task for task in statuses if task is not None]
            ready, on_demand = _split(order.do, tasks)
            other_tasks = [task for task in tasks if task not in ready and task not in on_demand]
            values |= {"ready": ready, "on_demand": on_demand, "others": other_tasks, "n": len(ready)}
            values |= {"n_on_demand": len(on_demand), "missing": len(order.ids) - len(tasks)}
        else:
            ready_count, on_demand_count = await _count(session, order)
            values |= {"ready": (), "on_demand": (), "others": (), "n": ready_count}
            values |= {"n_on_demand": on_demand_count, "missing": 0}
        return self._site.render(request, "tasks/bulk.html", values, session)

    async def move(self, request: Request, session: Session) -> Response:
        data = await request.form()
        order = _Order.read(data)
        if refusal := self._refused(request, session, order, data):
            return refusal
        ordered_work = _OrderedWork(session, order, data)
        title, total, run = ordered_work.of_ids() if order.ids else await ordered_work.of_all()
        key = str(data.get("key", "")) or secrets.token_urlsafe(16)
        work = self._site.works.begin(session, key, title, run, total=total, back=order.back)
        if await soon(work, SOON) and not (work.failed or work.stopped):
            notice, values = _notice(order.do, work.done)
            session.tell(notice, **values)
            return self._site.see(order.back)
        return self._site.see(f"/work/{work.key}")

    def _refused(
        self, request: Request, session: Session, order: _Order, data: ImmutableMultiDict[str, Any]
    ) -> Response | None:
        if order.do not in MOVES:
            return self._site.failure(request, session, "There is no such thing to do.", BAD)
        if not all(map(session.may, MOVES[order.do])):
            return self._site.failure(request, session, "Your role may not do that.", FORBIDDEN)
        if order.search.problems or not (order.ids or data.get("all") == "yes"):
            return self._site.failure(request, session, NOTHING_TICKED, BAD)
        return None


def _split(do: str, tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """Returns the tasks that can be moved, and those that are moved only on demand."""
    pending = [task for task in tasks if task["status"] in PENDING]
    if do == "cancel":
        return pending, [task for task in tasks if task["status"] in RUNNING]
    if do == "retry":
        ended_tasks = [task for task in tasks if task["status"] in RETRYABLE]
        retryable_tasks = [task for task in ended_tasks if task["retry_count"] < task["max_retries"]]
        return retryable_tasks, [task for task in ended_tasks if task not in retryable_tasks]
    return pending, []


async def _count(session: Session, order: _Order) -> tuple[int, int]:
    """Counts, of all tasks that match, those that can be moved and those that are moved only on demand."""
    if order.do == "retry":
        status = _of(order.search, RETRYABLE)
        if status is None:
            return 0, 0
        ready_count, total = [await _retryable(session, order.search, status, reset) for reset in (False, True)]
        return ready_count, total - ready_count
    pending = await _cancellable(session, order.search, PENDING)
    running = await _cancellable(session, order.search, RUNNING) if order.do == "cancel" else 0
    return pending, running


async def _retryable(session: Session, search: TaskSearch, states: Sequence[Any], reset: bool) -> int:
    retry = partial(session.client.bulk_retry_tasks, search.account_id, reset_retry_count=reset, dry_run=True)
    return sum([await retry(state, **search.conditions()) for state in states])


async def _cancellable(session: Session, search: TaskSearch, states: Sequence[str]) -> int:
    status = _of(search, states)
    if status is None:
        return 0
    return await session.client.bulk_cancel_tasks(
        search.account_id, status, force=states is RUNNING, dry_run=True, **search.conditions()
    )


def _of(search: TaskSearch, states: Sequence[str]) -> Any:
    """Returns those of `states` that the search is about; None if it is about others."""
    return [state for state in states if not search.states or state in search.states] or None


def _notice(do: str, n: int) -> Notice:
    texts = {
        "retry": plural("Put {n} task back into the queue.", "Put {n} tasks back into the queue."),
        "cancel": plural("Cancelled {n} task.", "Cancelled {n} tasks."),
        "run": plural("Moved {n} task to the front.", "Moved {n} tasks to the front."),
    }
    return texts[do], {"n": n}


def _title(do: str, n: int) -> Notice:
    texts = {
        "retry": plural("Retrying {n} task", "Retrying {n} tasks"),
        "cancel": plural("Cancelling {n} task", "Cancelling {n} tasks"),
        "run": plural("Running {n} task now", "Running {n} tasks now"),
    }
    return texts[do], {"n": n}


class _OrderedWork:
    """The work that a form asks for."""

    def __init__(self, session: Session, order: _Order, data: ImmutableMultiDict[str, Any]) -> None:
        self._client = session.client
        self._order = order
        self._session = session
        priority = str(data.get("priority", ""))
        self._priority = int(priority) if priority in map(str, PRIORITIES) else None
        show_time = _moment(str(data.get("now", "")))
        self._until = min(show_time, order.search.before) if order.search.before else show_time

    def of_ids(self) -> tuple[Notice, int, Run]:
        order = self._order
        return _title(order.do, len(order.ids)), len(order.ids), partial(self._each, order.ids)

    async def of_all(self) -> tuple[Notice, int, Run]:
        ready, on_demand = await _count(self._session, self._order)
        total = ready + (on_demand if self._order.more else 0)
        run = self._run_all if self._order.do == "run" else self._bulk
        return _title(self._order.do, total), total, run

    async def _bulk(self, work: Work) -> None:
        """Moves the tasks batch by batch, and only those that were there when the user was asked."""
        conditions = self._order.search.conditions()
        conditions["created_before"] = self._until
        for call in self._bulk_calls():
            moved_count = -1
            while work.done < work.total and moved_count:
                limit = min(BATCH, work.total - work.done)
                moved_count = await patiently(partial(call, limit=limit, **conditions))
                work.done += moved_count
        work.total = work.done

    def _bulk_calls(self) -> Sequence[Callable[..., Awaitable[int]]]:
        """The bulk calls, each to be repeated until it moves nothing. Tasks with retries left keep their count."""
        search, client, more = self._order.search, self._client, self._order.more
        if self._order.do == "retry":
            return [
                partial(client.bulk_retry_tasks, search.account_id, state, reset_retry_count=reset)
                for reset in ((False, True) if more else (False,))
                for state in _of(search, RETRYABLE) or ()
            ]
        states = _of(search, (*PENDING, *RUNNING) if more else PENDING)
        return [partial(client.bulk_cancel_tasks, search.account_id, states, force=more)] if states else ()

    async def _run_all(self, work: Work) -> None:
        search = self._order.search
        conditions = search.conditions()
        conditions["created_before"] = self._until
        pending = self._client.iter_tasks(search.account_id, "pending", **conditions)
        ids = [task["task_id"] async for task in pending] if _of(search, PENDING) else []
        work.total = len(ids)
        await self._each(ids, work)

    async def _each(self, ids: Sequence[str], work: Work) -> None:
        call = {"retry": self._retry, "cancel": self._cancel, "run": self._run}[self._order.do]

        async def one(task_id: str) -> None:
            try:
                await patiently(partial(call, task_id, work))
            except InvalidStateException as error:
                work.fail(task_id, f"/tasks/{task_id}", text("It is {state} by now."), state=error.current_state)
            except RequestError as error:
                work.fail(task_id, f"/tasks/{task_id}", text("{why}"), why=refused(error))

        async with at_once(MAX_CALLS) as begin:
            for task_id in ids:
                await begin(one(task_id))

    async def _cancel(self, task_id: str, work: Work) -> None:
        if await self._client.cancel_task(task_id, force=self._order.more):
            work.done += 1
        else:
            work.fail(task_id, "", text("There is no such task."))

    async def _retry(self, task_id: str, work: Work) -> None:
        if await self._client.retry_task(task_id, reset_retry_count=task_id in self._order.extra):
            work.done += 1
        else:
            work.fail(task_id, f"/tasks/{task_id}", text("Its retries are used up."))

    async def _run(self, task_id: str, work: Work) -> None:
        await run_now(self._session, task_id, self._priority)
        work.done += 1


async def run_now(session: Session, task_id: str, priority: int | None = None) -> None:
    """Ends what a pending task waits for of itself, its time or its next attempt; with another priority if given.

    Raises InvalidStateException if it is not pending, ResourceNotFoundException if there is none.
    """
    client = session.client
    task = await client.get_task_status(task_id)
    if task is not None and task["status"] == "pending" and not (task["schedule_time"] or priority):
        if task["pending_reason"] == "backoff":
            await client.retry_task(task_id)
        return
    changes: dict[str, Any] = {"priority": priority} if priority else {}
    task = await client.update_task(task_id, unschedule=True, **changes)
    if task["attempt"] and (await client.get_task_status(task_id) or task)["pending_reason"] == "backoff":
        await client.retry_task(task_id)


def _moment(iso: str) -> datetime:
    """Returns when the user was asked; the present time where the form does not say."""
    try:
        return moment(iso, UTC)
    except ValueError:
        return datetime.now(UTC)


class WorkPage:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return self._site.page("/work/{key}", self.show), self._site.form("/work/{key}/stop", self.stop, calls=False)

    async def show(self, request: Request, session: Session) -> Response:
        work = self._site.works.find(session, request.path_params["key"])
        if work is None:
            return self._site.failure(request, session, NO_WORK, NOT_FOUND)
        return self._site.render(request, "tasks/work.html", {"work": work}, session)

    async def stop(self, request: Request, session: Session) -> Response:
        work = self._site.works.find(session, request.path_params["key"])
        if work is None:
            return self._site.failure(request, session, NO_WORK, NOT_FOUND)
        work.stop()
        return self._site.see(f"/work/{work.key}")
