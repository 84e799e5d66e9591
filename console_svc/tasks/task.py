"""One task: its state, what it did when, what the CLI printed, commands for it; cancel, retry, run now, priority."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, NOT_FOUND, Site
from console_svc.tasks.bulk import RETRYABLE, run_now
from console_svc.tasks.commands import Commands
from console_svc.tasks.list import PRIORITIES
from console_svc.tasks.timeline import ENDED, attempts, timeline
from console_svc.web.sessions import Session
from contentgen import AttemptLog, Task, TaskEvent

MAX_EVENTS = 500
"""Events that a page is made of: the newest."""


class TaskPage:
    link = None

    def __init__(self, site: Site) -> None:
        self._site = site
        settings = site.settings
        self._commands = Commands(settings.scheduler, tls=settings.tls_ca is not None)

    def routes(self) -> Sequence[BaseRoute]:
        return (
            self._site.page("/tasks/{task_id}", self.show),
            self._site.page("/tasks/{task_id}/progress", self.progress),
            self._site.form("/tasks/{task_id}/cancel", self.cancel),
            self._site.form("/tasks/{task_id}/retry", self.retry),
            self._site.form("/tasks/{task_id}/run", self.run),
            self._site.form("/tasks/{task_id}/priority", self.set_priority),
        )

    async def show(self, request: Request, session: Session) -> Response:
        task_id = request.path_params["task_id"]
        task = await session.client.get_task_status(task_id)
        if task is None:
            return self._site.failure(request, session, "There is no such task.", NOT_FOUND)
        events, logs = await asyncio.gather(_events(session, task_id), _logs(session, task_id))
        now = datetime.now(UTC)
        values = {
            "task": task,
            "events": events,
            "timeline": timeline(task, events, now),
            "attempts": attempts(events),
            "logs": {log["attempt"]: log for log in logs},
            "moment_now": now,
            "commands": self._commands,
            "priorities": PRIORITIES,
            "schedule_ahead": _ahead(task["schedule_time"], now),
            "may": session.may,
            **_offers(session, task, now),
        }
        return self._site.render(request, "tasks/task.html", values, session)

    async def progress(self, request: Request, session: Session) -> Response:
        """Shows how far a task is: the part of the page that changes between moves."""
        task = await session.client.get_task_status(request.path_params["task_id"])
        if task is None:
            return self._site.failure(request, session, "There is no such task.", NOT_FOUND)
        return self._site.render(request, "tasks/progress.html", {"task": task}, session)

    async def cancel(self, request: Request, session: Session) -> Response:
        await session.client.cancel_task(request.path_params["task_id"], force=True)
        session.tell("It is cancelled.")
        return self._back(request)

    async def retry(self, request: Request, session: Session) -> Response:
        reset = (await request.form()).get("anew") == "yes"
        if await session.client.retry_task(request.path_params["task_id"], reset_retry_count=reset):
            session.tell("It is back in the queue.")
        else:
            session.tell("Its retries are used up.")
        return self._back(request)

    async def run(self, request: Request, session: Session) -> Response:
        await run_now(session, request.path_params["task_id"])
        session.tell("It waits no longer for its time.")
        return self._back(request)

    async def set_priority(self, request: Request, session: Session) -> Response:
        priority = str((await request.form()).get("priority", ""))
        if priority not in map(str, PRIORITIES):
            return self._site.failure(request, session, "A priority is 1 to 10.", BAD)
        await session.client.update_task(request.path_params["task_id"], priority=int(priority))
        session.tell("Its priority is {n} now.", n=int(priority))
        return self._back(request)

    def _back(self, request: Request) -> Response:
        return self._site.see(f"/tasks/{request.path_params['task_id']}")


def _offers(session: Session, task: Task, now: datetime) -> dict[str, bool]:
    """Returns what somebody with this role can do with a task in its state."""
    pending = task["status"] == "pending"
    retryable = task["status"] in RETRYABLE and session.may("TaskService/RetryTask")
    used_up = task["retry_count"] >= task["max_retries"]
    waits = task["pending_reason"] == "backoff" or _ahead(task["schedule_time"], now)
    may_update = session.may("TaskService/UpdateTask")
    return {
        "cancellable": task["status"] not in ENDED and session.may("TaskService/CancelTask"),
        "retryable": retryable and not used_up,
        "retryable_anew": retryable and used_up,
        "runnable": pending and waits and may_update and session.may("TaskService/RetryTask"),
        "changeable": pending and may_update,
        "again": session.may("TaskService/SubmitTask"),
    }


def _ahead(iso: str | None, now: datetime) -> bool:
    return iso is not None and datetime.fromisoformat(iso) > now


async def _events(session: Session, task_id: str) -> list[TaskEvent]:
    return [event async for event in session.client.iter_task_events(task_id)][-MAX_EVENTS:]


async def _logs(session: Session, task_id: str) -> list[AttemptLog]:
    return [log async for log in session.client.iter_attempt_logs(task_id)]
