"""One task: its state, its history, what the CLI printed; cancel and retry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.sessions import Session
from console_svc.site import NOT_FOUND, Site
from contentgen import AttemptLog, TaskEvent

MAX_EVENTS = 200
"""Events that a page shows: the newest."""
ENDED = ("completed", "failed", "timeout", "cancelled")
RETRYABLE = ("failed", "timeout", "cancelled")


class TaskPage:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return (
            self._site.page("/tasks/{task_id}", self.show),
            self._site.form("/tasks/{task_id}/cancel", self.cancel),
            self._site.form("/tasks/{task_id}/retry", self.retry),
        )

    async def show(self, request: Request, session: Session) -> Response:
        task_id = request.path_params["task_id"]
        task = await session.client.get_task_status(task_id)
        if task is None:
            return self._site.failure(request, session, "There is no such task.", NOT_FOUND)
        events, logs = await asyncio.gather(_events(session, task_id), _logs(session, task_id))
        values = {
            "task": task,
            "events": events[-MAX_EVENTS:],
            "logs": logs,
            "cancellable": task["status"] not in ENDED and session.may("TaskService/CancelTask"),
            "retryable": task["status"] in RETRYABLE and session.may("TaskService/RetryTask"),
        }
        return self._site.render(request, "task.html", values, session)

    async def cancel(self, request: Request, session: Session) -> Response:
        await session.client.cancel_task(request.path_params["task_id"], force=True)
        return self._back(request)

    async def retry(self, request: Request, session: Session) -> Response:
        await session.client.retry_task(request.path_params["task_id"])
        return self._back(request)

    def _back(self, request: Request) -> Response:
        return self._site.see(f"/tasks/{request.path_params['task_id']}")


async def _events(session: Session, task_id: str) -> list[TaskEvent]:
    return [event async for event in session.client.iter_task_events(task_id)]


async def _logs(session: Session, task_id: str) -> list[AttemptLog]:
    return [log async for log in session.client.iter_attempt_logs(task_id)]
