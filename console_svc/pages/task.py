"""One task: its state, its history, what the CLI printed; cancel and retry."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console_svc.sessions import Session
from console_svc.site import NOT_FOUND, SEE_OTHER, Site
from contentgen.client.results import AttemptLog, TaskEvent

MAX_EVENTS = 200
"""Events that a page shows: the newest."""
ENDED = ("completed", "failed", "timeout", "cancelled")
RETRYABLE = ("failed", "timeout", "cancelled")


class TaskPage:
    def __init__(self, site: Site) -> None:
        self._site = site

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
            "ended": task["status"] in ENDED,
            "retryable": task["status"] in RETRYABLE,
        }
        return self._site.render(request, "task.html", values, session)

    async def cancel(self, request: Request, session: Session) -> Response:
        await session.client.cancel_task(request.path_params["task_id"], force=True)
        return self._back(request)

    async def retry(self, request: Request, session: Session) -> Response:
        await session.client.retry_task(request.path_params["task_id"])
        return self._back(request)

    def _back(self, request: Request) -> Response:
        return RedirectResponse(self._site.path(f"/tasks/{request.path_params['task_id']}"), SEE_OTHER)


async def _events(session: Session, task_id: str) -> list[TaskEvent]:
    return [event async for event in session.client.iter_task_events(task_id)]


async def _logs(session: Session, task_id: str) -> list[AttemptLog]:
    return [log async for log in session.client.iter_attempt_logs(task_id)]
