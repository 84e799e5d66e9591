"""Retries, cancels or runs now many tasks: a page says what will happen, another one how far it is."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import FORBIDDEN, NotDone, Page, get, post, present
from console_svc.tasks.list import MOVES, PRIORITIES, TaskSearch
from console_svc.web.language import filled, plural, refused, text
from console_svc.web.sessions import Session
from console_svc.web.values import moment
from console_svc.web.work import Work, patiently, run_for_all
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
_TEXTS = {
    "retry": (
        plural("Retrying {n} task", "Retrying {n} tasks"),
        plural("Put {n} task back into the queue.", "Put {n} tasks back into the queue."),
    ),
    "cancel": (
        plural("Cancelling {n} task", "Cancelling {n} tasks"),
        plural("Cancelled {n} task.", "Cancelled {n} tasks."),
    ),
    "run": (
        plural("Running {n} task now", "Running {n} tasks now"),
        plural("Moved {n} task to the front.", "Moved {n} tasks to the front."),
    ),
}
"""The title of each work, and what is said once it has ended."""


class _Order(NamedTuple):
    """What the form says. No `ids`: all that match `search`. `extra` are those that `more` is about."""

    do: str
    search: TaskSearch
    ids: Sequence[str]
    extra: frozenset[str]
    more: bool
    back: str

    @classmethod
    def read(cls, data: ImmutableMultiDict[str, Any], session: Session) -> _Order:
        """Raises NotDone if it says nothing that can be done, or not by this user."""
        search, do, of_all = TaskSearch(data, session), str(data.get("do", "")), data.get("all") == "yes"
        more = data.get("more") == "yes"
        extra = list(map(str, data.getlist("extra"))) if more else []
        ids = () if of_all else (*map(str, data.getlist("task")), *extra)[:MAX_TICKED]
        if do not in MOVES:
            raise NotDone("There is no such thing to do.")
        if not all(map(session.may, MOVES[do])):
            raise NotDone("Your role may not do that.", FORBIDDEN)
        if search.problems or not (ids or of_all):
            raise NotDone("Tick some tasks first, or all that match.")
        back = f"/tasks?{urlencode(search.query)}" if search.query else "/tasks"
        return cls(do, search, ids, frozenset(extra), more, back)


class TaskMoves(Page):
    @get("/tasks/move")
    async def ask(self, request: Request, session: Session) -> Response:
        """Counts the tasks, and shows what will happen."""
        order = _Order.read(request.query_params, session)
        tasks: list[Task] = []
        ready: list[Task] = []
        on_demand: list[Task] = []
        if order.ids:
            tasks = [task for task in await session.client.get_task_statuses(order.ids) if task is not None]
            ready, on_demand = _split(order.do, tasks)
            ready_count, on_demand_count = len(ready), len(on_demand)
        else:
            ready_count, on_demand_count = await _count(session, order)
        values = {
            "order": order,
            "key": secrets.token_urlsafe(16),
            "now": datetime.now(UTC).isoformat(),
            "shown": SHOWN,
            "ready": ready,
            "on_demand": on_demand,
            "others": [task for task in tasks if task not in ready and task not in on_demand],
            "n": ready_count,
            "n_on_demand": on_demand_count,
            "missing": len(order.ids) - len(tasks),
        }
        return self._site.render(request, "tasks/bulk.html", values, session)

    @post("/tasks/move", calls=False)  # its work waits for a scheduler itself
    async def move(self, request: Request, session: Session) -> Response:
        data = await request.form()
        order = _Order.read(data, session)
        ordered_work = _OrderedWork(session, order, data)
        total = await ordered_work.total()
        key = str(data.get("key", "")) or secrets.token_urlsafe(16)
        title, notice = _TEXTS[order.do]
        run = ordered_work.run
        work = self._site.work.begin(session, key, filled(title, n=total), run, total=total, back=order.back)
        return await self._site.see_work(session, work, notice, SOON)

    @get("/work/{key}")
    async def show(self, request: Request, session: Session, key: str) -> Response:
        return self._site.render(request, "tasks/work.html", {"work": self._work(session, key)}, session)

    @post("/work/{key}/stop", calls=False)
    async def stop(self, _: Request, session: Session, key: str) -> Response:
        self._work(session, key).stop()
        return self._site.see(f"/work/{key}")

    def _work(self, session: Session, key: str) -> Work:
        work = self._site.work.find(session, key)
        return present(work, "This work is not known any more. Look at the list for what it has done.")


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
        ready_count, total = [await _retryable(session, order.search, reset) for reset in (False, True)]
        return ready_count, total - ready_count
    pending = await _cancellable(session, order.search, PENDING)
    running = await _cancellable(session, order.search, RUNNING) if order.do == "cancel" else 0
    return pending, running


async def _retryable(session: Session, search: TaskSearch, reset: bool) -> int:
    retry = partial(session.client.bulk_retry_tasks, search.account_id, reset_retry_count=reset, dry_run=True)
    return sum([await retry(state, **search.conditions()) for state in _of(search, RETRYABLE)])


async def _cancellable(session: Session, search: TaskSearch, states: Sequence[str]) -> int:
    if not (status := _of(search, states)):  # to the schedulers none would be all
        return 0
    return await session.client.bulk_cancel_tasks(
        search.account_id, status, force=states is RUNNING, dry_run=True, **search.conditions()
    )


def _of(search: TaskSearch, states: Sequence[str]) -> list[Any]:
    """Returns those of `states` that the search is about."""
    return [state for state in states if not search.states or state in search.states]


class _OrderedWork:
    def __init__(self, session: Session, order: _Order, data: ImmutableMultiDict[str, Any]) -> None:
        self._client = session.client
        self._order = order
        self._session = session
        priority = str(data.get("priority", ""))
        self._priority = int(priority) if priority in map(str, PRIORITIES) else None
        show_time = _moment(str(data.get("now", "")))
        self._conditions = order.search.conditions()
        self._conditions["created_before"] = min(show_time, order.search.before or show_time)
        """Of all that match only those that were there when the user was asked."""

    async def total(self) -> int:
        if self._order.ids:
            return len(self._order.ids)
        ready, on_demand = await _count(self._session, self._order)
        return ready + (on_demand if self._order.more else 0)

    async def run(self, work: Work) -> None:
        if self._order.ids:
            await self._each(self._order.ids, work)
        elif self._order.do == "run":
            await self._run_all(work)
        else:
            await self._bulk(work)

    async def _bulk(self, work: Work) -> None:
        """Moves the tasks batch by batch."""
        for call in self._bulk_calls():
            moved_count = -1
            while work.done < work.total and moved_count:
                limit = min(BATCH, work.total - work.done)
                moved_count = await patiently(partial(call, limit=limit, **self._conditions))
                work.done += moved_count
        work.total = work.done

    def _bulk_calls(self) -> Sequence[Callable[..., Awaitable[int]]]:
        """Returns the bulk calls, each repeated until it moves nothing. Tasks with retries left keep their count."""
        search, client, more = self._order.search, self._client, self._order.more
        if self._order.do == "retry":
            return [
                partial(client.bulk_retry_tasks, search.account_id, state, reset_retry_count=reset)
                for reset in ((False, True) if more else (False,))
                for state in _of(search, RETRYABLE)
            ]
        states = _of(search, (*PENDING, *RUNNING) if more else PENDING)
        return [partial(client.bulk_cancel_tasks, search.account_id, states, force=more)] if states else ()

    async def _run_all(self, work: Work) -> None:
        search = self._order.search
        pending = self._client.iter_tasks(search.account_id, "pending", **self._conditions)
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

        await run_for_all(ids, MAX_CALLS, one)

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
