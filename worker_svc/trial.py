"""The trial of `contentgen-worker try`: one lease without a scheduler, and what is printed of it.

A worker gets the lease assigned, and each of its updates is acknowledged at once. Progress goes to stderr, the outcome
to stdout.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import inf
from typing import Any

from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.config import WorkerSettings
from worker_svc.creators.base import Brief
from worker_svc.folder import WorkerFolder
from worker_svc.guard import now
from worker_svc.guard.child import GuardLostError
from worker_svc.guard.client import Guard
from worker_svc.metrics import WorkerMetrics
from worker_svc.outcome import Reason, clean
from worker_svc.session.loop import cancelled, first_of
from worker_svc.session.outbox import Outbox, PendingUpdate
from worker_svc.session.service import ProcessSignals, make_runner, make_worker
from worker_svc.session.worker import Worker


def lease(brief: Brief, timeout: float) -> pb.AssignedLease:
    """Returns the lease that a scheduler would assign for a task with this brief; it may take `timeout` seconds."""
    task = task_pb2.Task(task_id=f"try-{os.getpid()}", topic=brief.topic)
    for name, text in brief.texts.items():
        setattr(task, name, text)
    assigned = pb.AssignedLease(lease_id="try", attempt=1, task=task, creator_options=brief.options)
    assigned.timeout.FromNanoseconds(round(timeout * 1e9))
    return assigned


async def execute(
    settings: WorkerSettings,
    folder: WorkerFolder,
    guard: Guard,
    lease: pb.AssignedLease,
    on_update: Callable[[pb.LeaseUpdate], None],
    *,
    earlier_signals: Sequence[int],
) -> pb.LeaseUpdate | None:
    """Executes a lease that never expires, and closes the guard.

    Returns the update that ends the lease; None if INT, TERM or HUP came first, or is among `earlier_signals`, which
    came before this call. `on_update` gets the updates before the end. Raises GuardLostError.
    """
    signals = ProcessSignals()
    signals.on_hangup(signals.drain.set)
    if earlier_signals:
        signals.drain.set()
    try:
        await guard.connect()
        wake = asyncio.Event()
        with ThreadPoolExecutor(1, "disk") as disk:
            metrics = WorkerMetrics()  # nobody reads them
            runner = make_runner(settings, guard, folder, metrics)
            worker = make_worker(settings, folder, runner, disk, wake, metrics=metrics)
            clock = asyncio.create_task(worker.watch_time())
            worker.uploads.opened(None)
            worker.assigned([lease], inf)
            ends = (signals.drain.wait(), worker.broken.wait(), guard.lost.wait())
            try:
                first, ending = await first_of(_ending(worker, wake, on_update), *ends)
                if worker.broken.is_set() or guard.lost.is_set():
                    raise GuardLostError(guard.why_lost)
                return ending if first == 0 else None
            finally:
                await cancelled(clock)
                await worker.close()
    finally:
        await guard.close()
        signals.ignore()


async def _ending(worker: Worker, wake: asyncio.Event, on_update: Callable[[pb.LeaseUpdate], None]) -> pb.LeaseUpdate:
    numbers = count(1)
    while True:
        wake.clear()
        while updates := _take(worker.outbox, number := next(numbers)):
            committed = pb.UPDATE_OUTCOME_COMMITTED
            answers = [pb.UpdateResult(lease_id=u.lease_id, attempt=u.attempt, outcome=committed) for u in updates]
            worker.reported(number, answers)
            for update in updates:
                message: pb.LeaseUpdate = update.message
                if update.kind.ends:
                    return message
                on_update(message)
        await wake.wait()


def _take(outbox: Outbox, number: int) -> Sequence[PendingUpdate]:
    if updates := outbox.take(number):
        return updates
    large = outbox.next_alone(now())
    return [] if large is None else outbox.take_alone(number, large)


# What is printed.

_RELEASED = "this machine could not run the CLI (no memory, processes or disk space); --log-level=error shows why"
MAX_EXCERPT_LINES = 12
MAX_TITLE = 100
MAX_EXCERPT = 1_000  # characters of the body that are shown as text
_HINTS = {
    Reason.CREATOR_CLI_NOT_FOUND: "set CREATOR_CLI_PATH (--creator-cli-path) to the creator CLI",
    Reason.TASK_TIMEOUT: "--timeout sets how long a run may take",
}


class TryOutput:
    def __init__(self, topic: str, *, as_json: bool) -> None:
        self._topic = topic
        self._as_json = as_json
        self._started_at = time.monotonic()

    def starts(self, path: str, profile: str, timeout: float) -> None:
        _note(f"running {path} with profile {profile}; the run may take {timeout:g} s")

    def progressed(self, update: pb.LeaseUpdate) -> None:
        match update.WhichOneof("update"):
            case "processing":
                _note("the CLI has started")
            case "progress":
                progress = update.progress
                _note(" ".join(filter(None, (f"{progress.percent:3}%", progress.step, progress.message))))

    def ended(self, update: pb.LeaseUpdate) -> None:
        """Notes that the run has ended with the update that a scheduler would get."""
        seconds = time.monotonic() - self._started_at
        if self._as_json:
            names = ("stdout", "stderr", "stdout_truncated", "stderr_truncated")
            output = {name: getattr(update.output, name) for name in names}
            document = {**_document(update, self._topic), "output": output, "seconds": round(seconds, 3)}
            text = json.dumps(document, ensure_ascii=False, indent=2)
        else:
            text = "\n".join(_lines(_document(update, self._topic), seconds))
        print(text)  # noqa: T201 - a command prints


def _document(update: pb.LeaseUpdate, topic: str) -> Mapping[str, Any]:
    match update.WhichOneof("update"):
        case "completed":
            result = update.completed.result
            score = result.quality_score if result.HasField("quality_score") else None
            article = {
                "title": topic,
                "body": result.body,
                "html_body": result.html_body,
                "images": list(result.images),
                "quality_score": score,
            }
            return {"status": "completed", "result": article}
        case "deferred":
            deferred = update.deferred
            pause = deferred.retry_after.ToMilliseconds() / 1000
            return {"status": "deferred", "retry_after": pause, "message": deferred.message}
        case "failed":
            error = update.failed.error
            document = {"reason": error.reason, "message": error.message, "details": dict(error.details)}
            return {"status": "failed", "error": document}
        case _:
            return {"status": "released", "message": _RELEASED}


def _lines(document: Mapping[str, Any], seconds: float) -> Iterator[str]:
    headline = f"{document['status']} after {seconds:.1f} s"
    match document:
        case {"status": "completed", "result": result}:
            yield headline
            yield from _result(result)
        case {"status": "failed", "error": error}:
            yield f"{headline}: {error['reason']}"
            yield from _error(error)
        case {"status": "deferred", "retry_after": pause, "message": message}:
            yield f"{headline}: the CLI asks to come back in {pause:g} s"
            if message:
                yield f"  {message}"
        case _:
            yield f"{headline}: {document['message']}"


def _result(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"  title          {' '.join(result['title'].split())[:MAX_TITLE]}"
    yield f"  body           {len(result['body']):,} characters"
    yield (
        f"  HTML           {len(result['html_body']):,} characters" if result["html_body"] else "  HTML           none"
    )
    yield f"  images         {', '.join(result['images']) or 'none'}"
    score = result["quality_score"]
    yield f"  quality score  {'none' if score is None else f'{score:g}'}"
    yield ""
    text = clean(result["body"], len(result["body"]))
    excerpt = "\n".join(text.splitlines()[:MAX_EXCERPT_LINES])[:MAX_EXCERPT]
    yield excerpt
    if len(excerpt) < len(text):
        yield f"… {len(text) - len(excerpt):,} more characters; --output=json prints all"


def _error(error: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {error['message']}"
    details = dict(error["details"])
    stderr = details.pop("stderr", "")
    for name, value in details.items():
        yield f"  {name}: {value}"
    if stderr:
        yield "  the end of stderr:"
        yield from (f"    {line}" for line in stderr.splitlines())
    if hint := _HINTS.get(error["reason"]):
        yield f"  {hint}"


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command prints
