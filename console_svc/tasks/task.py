"""One task: its state, what it did when, what the CLI printed, shell commands; cancel, retry, run now, change."""

from __future__ import annotations

import asyncio
import json
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from console_svc.config import ConsoleSettings
from console_svc.site import Page, get, post, present
from console_svc.submits.fields import OF_A_CHANGE, WAS, changes, to_change
from console_svc.tasks.bulk import RETRYABLE, run_now
from console_svc.tasks.timeline import ENDED, attempts, timeline
from console_svc.web.forms import Form, lines, texts_of
from console_svc.web.language import text
from console_svc.web.paging import all_of
from console_svc.web.sessions import Session
from console_svc.web.values import zone_of
from contentgen import InvalidArgument, InvalidStateException, Task
from contentgen.submit_fields import FIELDS, Field, Kind

MAX_EVENTS = 500
"""Events that a page is made of: the newest."""


class TaskPage(Page):
    @get("/tasks/{task_id}")
    async def show(self, request: Request, session: Session, task_id: str) -> Response:
        task, zone = await _task(session, task_id), zone_of(request)
        return await self._page(request, session, task, Form({**_shown(task, zone), "zone": zone.key}))

    @post("/tasks/{task_id}")
    async def change(self, request: Request, session: Session, task_id: str) -> Response:
        """Changes what was typed over. A form that can't be taken is shown again with what was typed."""
        typed = texts_of(await request.form())
        form = Form({name: lines(value) for name, value in typed.items() if value.strip()}, OF_A_CHANGE)
        arguments = changes(form)
        try:
            if not form.problems:
                if arguments:
                    await session.client.update_task(task_id, **arguments)
                return self._site.done(session, "It is changed.", f"/tasks/{task_id}")
        except InvalidStateException:
            form.problems[""] = text("It waits no longer: it has started or ended meanwhile.")
        except InvalidArgument as error:
            form.refused(error)
        return await self._page(request, session, await _task(session, task_id), form)

    async def _page(self, request: Request, session: Session, task: Task, form: Form) -> Response:
        client, now, task_id = session.client, datetime.now(UTC), task["task_id"]
        all_events, logs = await asyncio.gather(
            all_of(client.iter_task_events(task_id)), all_of(client.iter_attempt_logs(task_id))
        )
        events = all_events[-MAX_EVENTS:]
        values = {
            "task": task,
            "form": form,
            "fields": OF_A_CHANGE,
            "events": events,
            "timeline": timeline(task, events, now),
            "attempts": attempts(events),
            "logs": {log["attempt"]: log for log in logs},
            "moment_now": now,
            "commands": commands(self._site.settings, task),
            **_offers(session, task, now),
        }
        return self._site.render(request, "tasks/task.html", values, session, bad=form.problems)

    @get("/tasks/{task_id}/progress")
    async def progress(self, request: Request, session: Session, task_id: str) -> Response:
        """Shows how far a task is: the part of the page that changes between moves."""
        values = {"task": await _task(session, task_id)}
        return self._site.render(request, "tasks/progress.html", values, session)

    @post("/tasks/{task_id}/cancel")
    async def cancel(self, _: Request, session: Session, task_id: str) -> Response:
        await session.client.cancel_task(task_id, force=True)
        return self._site.done(session, "It is cancelled.", f"/tasks/{task_id}")

    @post("/tasks/{task_id}/retry")
    async def retry(self, request: Request, session: Session, task_id: str) -> Response:
        reset = (await request.form()).get("anew") == "yes"
        retried = await session.client.retry_task(task_id, reset_retry_count=reset)
        notice = text("It is back in the queue.") if retried else text("Its retries are used up.")
        return self._site.done(session, notice, f"/tasks/{task_id}")

    @post("/tasks/{task_id}/run")
    async def run(self, _: Request, session: Session, task_id: str) -> Response:
        await run_now(session, task_id)
        return self._site.done(session, "It waits no longer for its time.", f"/tasks/{task_id}")


async def _task(session: Session, task_id: str) -> Task:
    return present(await session.client.get_task_status(task_id), "There is no such task.")


def _shown(task: Task, zone: ZoneInfo) -> dict[str, str]:
    """Returns what the form of a change shows, and beside it the same as what each field was."""
    texts = to_change(task, zone)
    return {**texts, **{f"{WAS}{name}": value for name, value in texts.items()}}


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


_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\", "'": r"\'"}
_BYTE, _PLANE = 0x80, 0xFFFF


def quoted(word: str) -> str:
    """Returns a word of a command for bash or zsh, safe to be pasted into a terminal.

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


def commands(settings: ConsoleSettings, task: Task) -> dict[str, str]:
    """Returns commands that show a task and submit it again. The token is in the shell's environment, and in none."""
    target, tls = settings.scheduler, settings.tls_ca is not None
    contentgen = ["contentgen", "--scheduler", target, *(["--tls-ca", "ca.pem"] if tls else [])]
    grpcurl = ["grpcurl", *(["-cacert", "ca.pem"] if tls else ["-plaintext"])]
    address = target.rpartition("/")[2].removeprefix("ipv4:").partition(",")[0]

    def command(*words: str) -> str:
        return " ".join(map(quoted, [*contentgen, *words]))

    def call(method: str, request: dict[str, Any]) -> str:
        body = quoted(json.dumps(request, ensure_ascii=False))
        header = '-H "authorization: Bearer $CONTENTGEN_TOKEN"'
        options = " ".join(map(quoted, grpcurl))
        return f"{options} {header} -d {body} {quoted(address)} contentgen.v1.TaskService/{method}"

    task_id, options = task["task_id"], [word for option in _options(task) for word in option]
    return {
        "show": command("task", "status", task_id),
        "logs": command("task", "logs", task_id),
        "submit": command("task", "submit", "--account", str(task["account_id"]), *options, "--", task["topic"]),
        "grpcurl_show": call("GetTask", {"task_id": task_id}),
        "grpcurl_submit": call("SubmitTask", {field.name: value for field, value in _given(task)}),
    }


_LEFT_OUT = frozenset({"request_id", "unique_key", "unique_for", "creator_options"})
"""What another submit has of its own, or a task does not tell."""
_APART = frozenset({"account_id", "topic"})
"""What `submit` writes in its own way."""


def _options(task: Task) -> Iterator[Sequence[str]]:
    """Yields flags of `contentgen task submit` with their values."""
    for field, value in _given(task):
        if field.name in _APART:
            continue
        name = field.name.replace("_", "-")
        if field.kind is Kind.PAIRS:
            yield from ((field.flags[0], f"{key}={label}") for key, label in sorted(value.items()))
        elif field.kind is not Kind.YES_NO:
            yield f"--{name}", f"{value:g}" if field.kind is Kind.NUMBER else str(value)
        elif not value:
            yield (f"--no-{name}",)


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
    """Returns a time that is still to come; what has passed says nothing any more."""
    return iso if iso and datetime.fromisoformat(iso) > datetime.now(UTC) else None


_WRITERS: Mapping[Kind, Callable[[Any], Any]] = {Kind.LENGTH: _length, Kind.TIME: _future}
