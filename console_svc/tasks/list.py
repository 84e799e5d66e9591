"""The list of tasks, with its filter in the address, and its rows as they move."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, Link, Site
from console_svc.tasks.search import REASONS, STATES, TaskSearch
from console_svc.web.language import language_of
from console_svc.web.live import Move
from console_svc.web.paging import PAGE_SIZE
from console_svc.web.sessions import Session
from contentgen import Task

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


class Tasks:
    link = Link("/tasks", "Tasks", "TaskService/ListTasks")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return (
            self._site.page("/tasks", self.show),
            self._site.page("/tasks/live", self.live),
            self._site.page("/tasks/rows", self.rows),
        )

    async def show(self, request: Request, session: Session) -> Response:
        """Lists tasks, the newest first. `page` is the API's token of a page. An id as topic leads to its task."""
        search = TaskSearch(request.query_params)
        if TASK_ID.fullmatch(search.topic):
            return self._site.see(f"/tasks/{search.topic}")
        page_token = request.query_params.get("page", "")
        tasks, older = ([], "") if search.problems else await _page(session, search, page_token)
        query = list(search.query)
        if page_token and tasks:
            query.append(("newest", tasks[0]["task_id"]))
        if older and tasks:
            query.append(("oldest", tasks[-1]["task_id"]))
        values = {
            "tasks": tasks,
            "search": search,
            "states": STATES,
            "reasons": REASONS,
            "moves": [name for name, methods in MOVES.items() if all(map(session.may, methods))],
            "older": urlencode([*search.query, ("page", older)]) if older else "",
            "newest": urlencode(search.query) if page_token else None,
            "live_query": urlencode([*query, ("ticks", "yes")]),
        }
        return self._site.render(request, "tasks/list.html", values, session, status=BAD if search.problems else 200)

    async def live(self, request: Request, session: Session) -> Response:
        """Streams rows that have moved as server-sent events."""
        shown_tasks = _ShownTasks(request)
        ticks = "ticks" in request.query_params
        key = f"{language_of(request)} {ticks}"

        def row(move: Move) -> str:
            if not shown_tasks.may_have(move.task):
                return ""
            is_known = not shown_tasks.belongs(move)

            def rendered() -> str:
                values = {"task": move.task, "moved": True, "known": is_known, "ticks": ticks}
                return self._site.renderer.text(request, "tasks/row.html", values)

            return move.rendered(f"{key} {is_known}", rendered)

        return self._site.live.stream(request, session, row)

    async def rows(self, request: Request, session: Session) -> Response:
        """Returns the present rows of these tasks: how far a running one is, which is no move."""
        tasks = await session.client.get_task_statuses(request.query_params.getlist("task")[:PAGE_SIZE])
        ticks = "ticks" in request.query_params
        rows = [
            self._site.renderer.text(request, "tasks/row.html", {"task": task, "moved": True, "ticks": ticks})
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
            **search.conditions(),
        )
        tasks += page["tasks"]
        page_token = page["next_page_token"]
        if not page_token or len(tasks) >= PAGE_SIZE:
            break
    return tasks, page_token


class _ShownTasks:
    """What a page shows, of the tasks that move. `oldest` and `newest` bound it: ids rise with time."""

    def __init__(self, request: Request) -> None:
        params = request.query_params
        self._search = TaskSearch(params)
        self._task_id = params.get("task_id", "")
        self._oldest = params.get("oldest", "")
        self._newest = params.get("newest", "")

    def may_have(self, task: Task) -> bool:
        """Tells whether a task may be on the page, by all but its state."""
        task_id = task["task_id"]
        return (
            self._task_id in {"", task_id}
            and self._oldest <= task_id
            and (not self._newest or task_id <= self._newest)
            and self._search.meets(task)
        )

    def belongs(self, move: Move) -> bool:
        """Whether it is in one of the states. Where it has left them, its row says so if the page has it."""
        states = self._search.states
        return not states or move.task["status"] in states
