"""The list of tasks, with its filter in the address, and its rows as they move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import get_args
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from console_svc.language import language_of
from console_svc.live import Move, server_sent, since
from console_svc.sessions import Session
from console_svc.site import BAD, Link, Site
from contentgen import TaskStatus

PAGE_SIZE = 50
STATES: Sequence[TaskStatus] = get_args(TaskStatus)
_TEXTS = ("account", "topic", "worker", "before")


class Tasks:
    link = Link("/tasks", "Tasks", "TaskService/ListTasks")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return self._site.page("/tasks", self.show), self._site.page("/tasks/live", self.live)

    async def show(self, request: Request, session: Session) -> Response:
        """Newest first. `before`: only those created earlier, which is how the next page begins."""
        asked = {name: text for name in _TEXTS if (text := request.query_params.get(name, "").strip())}
        states = [state for state in STATES if state in request.query_params.getlist("status")]
        try:
            tasks = await session.client.list_tasks(
                int(asked["account"]) if "account" in asked else None,
                states,
                PAGE_SIZE + 1,
                topic=asked.get("topic", ""),
                worker_id=asked.get("worker", ""),
                created_before=asked.get("before"),
            )
        except ValueError as error:
            return self._site.failure(request, session, str(error), BAD)
        filters = [(name, text) for name, text in asked.items() if name != "before"] + [("status", it) for it in states]
        older = [*filters, ("before", tasks[PAGE_SIZE - 1]["created_at"])] if len(tasks) > PAGE_SIZE else []
        values = {
            "tasks": tasks[:PAGE_SIZE],
            "asked": asked,
            "states": STATES,
            "chosen": states,
            "older": urlencode(older),
            "live_query": urlencode(filters),
        }
        return self._site.render(request, "tasks.html", values, session)

    async def live(self, request: Request, session: Session) -> Response:
        """Rows that have moved, as server-sent events."""
        wanted = _Wanted(request)
        language = language_of(request)

        def row(move: Move) -> str:
            def rendered() -> str:
                return self._site.renderer.text(request, "task_row.html", {"task": move.task, "moved": True})

            return move.rendered(language, rendered) if wanted.has(move) else ""

        async def events() -> AsyncIterator[str]:
            async with self._site.live.follow(session, since(request)) as moves:
                async for text in server_sent(moves, row):
                    yield text

        unbuffered = {"x-accel-buffering": "no"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=unbuffered)


class _Wanted:
    """The filter of a page, for tasks that move."""

    def __init__(self, request: Request) -> None:
        params = request.query_params
        self._account = params.get("account", "")
        self._topic = params.get("topic", "").lower()
        self._worker = params.get("worker", "")
        self._task_id = params.get("task_id", "")

    def has(self, move: Move) -> bool:
        """A task that has left the wanted states is one of them: its row says so."""
        task = move.task
        return (
            self._account in {"", str(task["account_id"])}
            and self._topic in task["topic"].lower()
            and self._worker in {"", task["worker_id"]}
            and self._task_id in {"", task["task_id"]}
        )
