"""The list of tasks, with its filter in the address, and its rows as they move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from console_svc.live import Told
from console_svc.sessions import Session
from console_svc.site import BAD, Site
from contentgen.client.results import Task

PAGE_SIZE = 50
STATES = ("pending", "submitted", "processing", "completed", "failed", "timeout", "cancelled")
PING_INTERVAL = 15.0
"""Seconds after which a stream that tells nothing is kept open by a comment."""


class Tasks:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request, session: Session) -> Response:
        """Newest first. `before`: only those created earlier, which is how the next page begins."""
        asked = {name: value for name in ("account", "topic", "worker", "before") if (value := request.query_params.get(name, "").strip())}
        states = [state for state in request.query_params.getlist("status") if state in STATES]
        try:
            account = int(asked["account"]) if "account" in asked else None
            tasks = await session.client.list_tasks(
                account,
                states,
                PAGE_SIZE + 1,
                topic=asked.get("topic", ""),
                worker_id=asked.get("worker", ""),
                created_before=asked.get("before"),
            )
        except ValueError as error:
            return self._site.failure(request, session, str(error), BAD)
        filters = [(name, value) for name, value in asked.items() if name != "before"] + [("status", it) for it in states]
        values = {
            "tasks": tasks[:PAGE_SIZE],
            "asked": asked,
            "states": STATES,
            "chosen": states,
            "older": urlencode([*filters, ("before", tasks[PAGE_SIZE - 1]["created_at"])]) if len(tasks) > PAGE_SIZE else "",
            "live": "before" not in asked,
            "live_query": urlencode(filters),
        }
        return self._site.render(request, "tasks.html", values, session)

    async def live(self, request: Request, session: Session) -> Response:
        """Rows that have moved, as server-sent events: `task` replaces or adds one, `reload` asks for the whole page."""
        wanted = _Wanted(request)

        async def events() -> AsyncIterator[str]:
            async with self._site.live.follow(session) as moves:
                yield "retry: 2000\n\n"
                while True:
                    try:
                        told: Told = await asyncio.wait_for(moves.get(), PING_INTERVAL)
                    except TimeoutError:
                        yield ": still here\n\n"
                        continue
                    if told is None:
                        yield _event("reload", "")
                    elif wanted.matches(told["task"]):
                        row = self._site.renderer.text(request, "task_row.html", {"task": told["task"]}, session=session)
                        yield _event("task", row)

        return StreamingResponse(events(), media_type="text/event-stream")


class _Wanted:
    """The filter of a page, for tasks that move."""

    def __init__(self, request: Request) -> None:
        params = request.query_params
        self._account = params.get("account", "")
        self._topic = params.get("topic", "").lower()
        self._worker = params.get("worker", "")
        self._task_id = params.get("task_id", "")

    def matches(self, task: Task) -> bool:
        """A task that has left the wanted states matches too: its row says so."""
        return (
            self._account in {"", str(task["account_id"])}
            and self._topic in task["topic"].lower()
            and self._worker in {"", task["worker_id"]}
            and self._task_id in {"", task["task_id"]}
        )


def _event(name: str, data: str) -> str:
    lines: list[Any] = data.splitlines() or [""]
    return f"event: {name}\n" + "".join(f"data: {line}\n" for line in lines) + "\n"
