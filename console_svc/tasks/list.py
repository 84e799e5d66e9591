"""The list of tasks, and its rows as they move.

Which tasks it shows is read from the address of the page, and written into it again. `view` names it, and no more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, get_args
from urllib.parse import urlencode

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from console_svc.site import Link, Page, get
from console_svc.tasks.causes import FAILED, causes_of
from console_svc.tasks.timeline import ENDED
from console_svc.web.filters import Filter
from console_svc.web.forms import Form, typed_of
from console_svc.web.language import language_of, text
from console_svc.web.live import Move
from console_svc.web.paging import PAGE_SIZE
from console_svc.web.sessions import Session, permitted
from console_svc.web.values import number_of, pairs
from contentgen import Task, TaskFilter, TaskOrder, TaskStatus

STATES: Sequence[TaskStatus] = get_args(TaskStatus)
REASONS: Sequence[str] = (
    "CREATOR_ERROR",
    "CREATOR_TIMEOUT",
    "CREATOR_INVALID_RESPONSE",
    "CREATOR_CLI_NOT_FOUND",
    "TASK_TIMEOUT",
    "DEFERRED",
    "WORKER_LOST",
    "RESULT_TOO_LARGE",
    "INVALID_CREATOR_OPTIONS",
    "NO_WORKER_ACCEPTS",
    "CANCELLED_BY_CLIENT",
    "EXPIRED",
)
"""Those that a form offers; the API may have more."""
MAX_VIEW = 60
"""Characters of the name of a view."""
ORDERS: dict[str, TaskOrder] = {
    text("oldest_first"): "create_time",
    text("last_ended_first"): "end_time desc",
    text("first_ended_first"): "end_time",
}
"""Orders beside the newest first, by their names in the address."""
_FIELDS = ("topic", "account", "worker", "label", "reason", "schedule", "after", "before", "zone", "sort")
_WORDS = re.compile(r"[,，\s]+")
_LABELS = re.compile(r"[,，]\s*|\s{2,}|\n")


class TaskSearch(Form):
    """Conditions that hold together, of an address or of a form. A field that has a problem has no effect."""

    def __init__(self, data: ImmutableMultiDict[str, Any], session: Session) -> None:
        typed = typed_of(data, _FIELDS)
        if not typed.keys() & {"after", "before"}:
            typed.pop("zone", None)
        if typed.get("sort") not in ORDERS:
            typed.pop("sort", None)
        super().__init__(typed, account=session.accounts.number)
        self.states = [state for state in STATES if state in data.getlist("status")]
        self.account_id = self.account()
        self.schedule_id = self.read("schedule", number_of, text("It should be a number, from 1."))
        problem = text("It should be key=value, several by comma.")
        self.labels = self.read("label", lambda labels: pairs(_LABELS.split(labels)), problem) or {}
        self.sort = self.plain("sort")
        self.topic, self.worker = self.plain("topic"), self.plain("worker")
        self.reasons = [word.upper() for word in _WORDS.split(self.plain("reason")) if word]
        self.after, self.before = (
            self.time(name, text("It should be a time such as 2026-01-31 08:00.")) for name in ("after", "before")
        )

    @property
    def query(self) -> list[tuple[str, str]]:
        """The conditions as pairs of the query of an address."""
        return [*self.typed.items(), *(("status", state) for state in self.states)]

    @property
    def listed(self) -> list[tuple[str, str]]:
        """`query`, of those that the list has: in the order of ends only tasks that have ended."""
        if not ORDERS.get(self.sort, "").startswith("end_time"):
            return self.query
        states = [("status", state) for state in ENDED if not self.states or state in self.states]
        return [pair for pair in self.query if pair[0] != "status"] + states

    def sorted_by(self, sort: str) -> str:
        """Returns the query of the same tasks in another order; empty: the newest first."""
        return urlencode([pair for pair in self.query if pair[0] != "sort"] + ([("sort", sort)] if sort else []))

    @property
    def by_cause(self) -> bool:
        """Tells whether it is about failed tasks, whatever their errors."""
        return bool(self.states) and set(self.states) <= set(FAILED) and not self.reasons

    def conditions(self) -> TaskFilter:
        """Returns the filter for the client, without the account and the states."""
        return {
            "topic": self.topic,
            "worker_id": self.worker,
            "labels": self.labels,
            "error_reasons": self.reasons,
            "schedule_id": self.schedule_id,
            "created_after": self.after,
            "created_before": self.before,
        }

    def meets(self, task: Task) -> bool:
        """Tells whether a task meets all conditions, but for its state."""
        creation_time = datetime.fromisoformat(task["created_at"])
        return (
            self.account_id in {None, task["account_id"]}
            and self.schedule_id in {None, task["schedule_id"]}
            and self.worker in {"", task["worker_id"]}
            and self.topic.lower() in task["topic"].lower()
            and self.labels.items() <= task["labels"].items()
            and (not self.reasons or task["error_reason"] in self.reasons)
            and (self.after is None or creation_time >= self.after)
            and (self.before is None or creation_time < self.before)
        )


PRIORITIES = range(10, 0, -1)
MAX_CALLS = 10
"""Pages of the API that one page of the console reads: those of a rare condition may be empty."""
TASK_ID = re.compile(r"task-[0-9a-f]{16}")
MOVES = {
    "retry": ("TaskService/RetryTask", "TaskService/BulkRetryTasks"),
    "cancel": ("TaskService/CancelTask", "TaskService/BulkCancelTasks"),
    "run": ("TaskService/UpdateTask", "TaskService/RetryTask"),
}
"""What can be done with many tasks, and the methods that it needs."""


FILTERS = {
    "topic": Filter(text("Topic")),
    "account": Filter(text("Account")),
    "status": Filter(text("State"), STATES),
    "worker": Filter(text("Worker")),
    "label": Filter(text("Labels")),
    "reason": Filter(text("Error reason")),
    "schedule": Filter(text("Schedule no.")),
    "after": Filter(text("Created from")),
    "before": Filter(text("until before")),
    "sort": Filter(text("Order"), list(ORDERS)),
}


class Tasks(Page):
    link = Link("/tasks", "Tasks", 30, "TaskService/ListTasks")

    @get("/tasks", filters=FILTERS)
    async def show(self, request: Request, session: Session) -> Response:
        """Lists tasks, the newest first or as `sort` says. `page` is the API's token of a page.

        An id as topic leads to its task.
        """
        search = TaskSearch(request.query_params, session)
        if TASK_ID.fullmatch(search.topic):
            return self._site.see(f"/tasks/{search.topic}")
        page_token = request.query_params.get("page", "")
        causes = stats = None
        tasks: list[Task] = []
        older = ""
        if not search.problems:
            listed = causes_of(session.client, search.account_id, search.query, **search.conditions())
            counts = search.typed.keys() <= {"account", "sort"} and session.may("TaskService/GetTaskStats")
            (tasks, older), causes, stats = await asyncio.gather(
                _page(session, search, page_token),
                permitted(search.by_cause and not page_token, listed),
                permitted(counts, session.client.get_task_stats(search.account_id)),
            )
        view = request.query_params.get("view", "").strip()[:MAX_VIEW]
        named = [*search.query, *([("view", view)] if view else [])]
        query = list(search.query)
        if tasks and not search.sort:
            query += [("newest", tasks[0]["task_id"])] if page_token else []
            query += [("oldest", tasks[-1]["task_id"])] if older else []
        values = {
            "tasks": tasks,
            "search": search,
            "view": view,
            "max_view": MAX_VIEW,
            "states": STATES,
            "orders": ORDERS,
            "counts": stats["counts"] if stats else None,
            "causes": causes,
            "reasons": REASONS,
            "moves": [name for name, methods in MOVES.items() if all(map(session.may, methods))],
            "older": urlencode([*named, ("page", older)]) if older else "",
            "newest": urlencode(named) if page_token else None,
            "live_query": urlencode([*query, ("ticks", "yes")]),
        }
        return self._site.render(request, "tasks/list.html", values, session, bad=search.problems)

    @get("/tasks/live")
    async def live(self, request: Request, session: Session) -> Response:
        """Streams rows that have moved. `oldest` and `newest` bound what the page shows: ids rise with time."""
        params, search = request.query_params, TaskSearch(request.query_params, session)
        only, oldest, newest = (params.get(name, "") for name in ("task_id", "oldest", "newest"))
        ticks = "ticks" in params
        key = f"{language_of(request)} {ticks}"

        def row(move: Move) -> str:
            task_id = move.task["task_id"]
            is_within = only in {"", task_id} and oldest <= task_id and (not newest or task_id <= newest)
            if not (is_within and search.meets(move.task)):
                return ""
            # where it has left the states of the page, or another order has its place, the page may have its row
            is_known = bool(search.sort) or (bool(search.states) and move.task["status"] not in search.states)
            values = {"task": move.task, "moved": True, "known": is_known, "ticks": ticks, "session": session}
            render = partial(self._site.renderer.text, request, "tasks/row.html", values)
            return move.rendered(f"{key} {is_known}", render)

        return self._site.live.stream(request, session, row)

    @get("/tasks/rows")
    async def rows(self, request: Request, session: Session) -> Response:
        """Returns the present rows of these tasks: how far a running one is, which is no move."""
        tasks = await session.client.get_task_statuses(request.query_params.getlist("task")[:PAGE_SIZE])
        ticks = "ticks" in request.query_params
        common = {"moved": True, "ticks": ticks, "session": session}
        rows = [
            self._site.renderer.text(request, "tasks/row.html", {"task": task, **common})
            for task in tasks
            if task is not None
        ]
        return HTMLResponse("".join(rows))


async def _page(session: Session, search: TaskSearch, page_token: str) -> tuple[list[Task], str]:
    """Returns the tasks of a page, and the token of the next one; empty if there is none."""
    tasks: list[Task] = []
    for _ in range(MAX_CALLS):
        page = await session.client.get_task_page(
            search.account_id,
            search.states,
            page_token=page_token,
            page_size=PAGE_SIZE - len(tasks),
            order_by=ORDERS.get(search.sort),
            **search.conditions(),
        )
        tasks += page["tasks"]
        page_token = page["next_page_token"]
        if not page_token or len(tasks) >= PAGE_SIZE:
            break
    return tasks, page_token
