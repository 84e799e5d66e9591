"""One task: its state, what it did when, what the CLI printed; cancel, retry, run now, priority.

It offers commands for a shell that show the task, and that submit it again.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, NOT_FOUND, Site
from console_svc.tasks.bulk import RETRYABLE, run_now
from console_svc.tasks.list import PRIORITIES
from console_svc.tasks.timeline import ENDED, attempts, timeline
from console_svc.web.sessions import Session
from contentgen import AttemptLog, Task, TaskEvent
from contentgen.submit_fields import FIELDS, Field, Kind

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


_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}
_BYTE, _PLANE = 0x80, 0xFFFF


def quoted(word: str) -> str:
    """A word of a command for bash or zsh, safe to be pasted into a terminal.

    Control and format characters are escaped: a terminal acts on them before the shell reads the quotes.
    """
    if not any(unicodedata.category(char) in {"Cc", "Cf"} for char in word):
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if unicodedata.category(char) not in {"Cc", "Cf"}:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < _BYTE else f"\\u{code:04x}" if code <= _PLANE else f"\\U{code:08x}"


class Commands:
    """Makes commands for the schedulers at `target`. The token is in the shell's environment, and in no command."""

    def __init__(self, target: str, *, tls: bool) -> None:
        self._contentgen = ["contentgen", "--scheduler", target, *(["--tls-ca", "ca.pem"] if tls else [])]
        address = target.rpartition("/")[2].removeprefix("ipv4:").partition(",")[0]
        self._grpcurl = ["grpcurl", *(["-cacert", "ca.pem"] if tls else ["-plaintext"])]
        self._address = address

    def show(self, task: Task) -> str:
        return self._command("task", "status", task["task_id"])

    def logs(self, task: Task) -> str:
        return self._command("task", "logs", task["task_id"])

    def submit(self, task: Task) -> str:
        words = ["task", "submit", "--account", str(task["account_id"])]
        for flag, value in _options(task):
            words += [flag, value] if value else [flag]
        return self._command(*words, "--", task["topic"])

    def grpcurl_show(self, task: Task) -> str:
        return self._call("GetTask", {"task_id": task["task_id"]})

    def grpcurl_submit(self, task: Task) -> str:
        return self._call("SubmitTask", _request(task))

    def _command(self, *words: str) -> str:
        return " ".join(map(quoted, [*self._contentgen, *words]))

    def _call(self, method: str, request: dict[str, Any]) -> str:
        body = quoted(json.dumps(request, ensure_ascii=False))
        header = '-H "authorization: Bearer $CONTENTGEN_TOKEN"'
        options = " ".join(map(quoted, self._grpcurl))
        return f"{options} {header} -d {body} {quoted(self._address)} contentgen.v1.TaskService/{method}"


_LEFT_OUT = frozenset({"request_id", "unique_key", "unique_for", "creator_options"})
"""What another submit has of its own, or a task does not tell."""
_APART = frozenset({"account_id", "topic"})
"""What `submit` writes in its own way."""


def _options(task: Task) -> Iterator[tuple[str, str]]:
    """Yields flags of `contentgen task submit` with their values."""
    for field, value in _given(task):
        if field.name in _APART:
            continue
        name = field.name.replace("_", "-")
        if field.kind is Kind.PAIRS:
            yield from ((field.flags[0], f"{key}={text}") for key, text in sorted(value.items()))
        elif field.kind is not Kind.YES_NO:
            yield f"--{name}", f"{value:g}" if field.kind is Kind.NUMBER else str(value)
        elif not value:
            yield f"--no-{name}", ""


def _request(task: Task) -> dict[str, Any]:
    """Returns a SubmitTaskRequest as JSON."""
    return {field.name: value for field, value in _given(task)}


def _given(task: Task) -> Iterator[tuple[Field, Any]]:
    """Yields the fields of a submit like that of the task, with their values as JSON has them."""
    values: Mapping[str, Any] = task
    for field in FIELDS:
        if field.name in _LEFT_OUT:
            continue
        write, value = _WRITERS.get(field.kind), values[field.name]
        if write:
            value = write(value)
        if value not in (None, "", {}):
            yield field, value


def _length(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _future(iso: str | None) -> str | None:
    """A time that is still to come; what has passed says nothing any more."""
    return iso if iso and datetime.fromisoformat(iso) > datetime.now(UTC) else None


_WRITERS: Mapping[Kind, Callable[[Any], Any]] = {Kind.LENGTH: _length, Kind.TIME: _future}
