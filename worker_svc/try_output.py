"""What `contentgen-worker try` prints: progress on stderr, the outcome on stdout.

Layer: below try_command, beside session.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.outcome import Reason, clean

MAX_EXCERPT_LINES = 12
MAX_TITLE = 100
MAX_EXCERPT = 1_000
"""Characters of the body that are shown as text."""

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
        """The run has ended with the update that a scheduler would get."""
        seconds = time.monotonic() - self._started_at
        if self._as_json:
            document = {**_document(update, self._topic), "output": _output(update), "seconds": round(seconds, 3)}
            _print(json.dumps(document, ensure_ascii=False, indent=2))
        else:
            for line in _lines(_document(update, self._topic), seconds):
                _print(line)


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


def _output(update: pb.LeaseUpdate) -> Mapping[str, Any]:
    """The log of the attempt."""
    output = update.output
    return {
        "stdout": output.stdout,
        "stderr": output.stderr,
        "stdout_truncated": output.stdout_truncated,
        "stderr_truncated": output.stderr_truncated,
    }


_RELEASED = "this machine could not run the CLI (no memory, processes or disk space); --log-level=error shows why"


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


def _print(text: str) -> None:
    print(text)  # noqa: T201 - a command prints
