"""The program: `contentgen-demo-creator`, or `python -m worker_svc.demo_creator`.

Exit statuses: 0 done; 1 the run failed, or the task has no run; 2 wrong arguments; 3 and 75 as `--demo-fail` asks.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from worker_svc.demo_creator import misbehaviour, runs
from worker_svc.demo_creator.arguments import USAGE, Request, UsageError, number, parse
from worker_svc.demo_creator.runs import DemoRun

VERSION = "contentgen-demo-creator 1.0.0 (an offline stand-in, no language model)"
_SYNC_STEPS = 5
_RETRY_AFTER = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if list(arguments) in (["--version"], ["--help"]):
        _print(VERSION if arguments[0] == "--version" else USAGE.rstrip())
        return 0
    try:
        request = parse(arguments)
        return {"create": _create, "status": _status, "result": _result}[request.command](request)
    except UsageError as error:
        return _complain(f"{error}\n{USAGE}", 2)
    except OSError as error:
        return _complain(str(error), 1)


def _create(request: Request) -> int:
    run, attempt = _asked_for(request)
    mode = request.text("mode") or "async"
    topic = run.brief.topic
    sha256 = hashlib.sha256(os.fsencode(topic)).hexdigest()
    runs.write_journal("start", run.task_id, mode=mode, attempt=attempt, topic=topic, topic_sha256=sha256)
    retry_after = request.number("demo-retry-after", _RETRY_AFTER)
    status = misbehaviour.at_create(run.fail, retry_after, lambda: runs.write_journal("child", run.task_id))
    if status is None:
        status = _create_sync(run) if mode == "sync" else _create_async(run)
    runs.write_journal("end", run.task_id, status=status)
    return status


def _asked_for(request: Request) -> tuple[DemoRun, int]:
    """Returns the run, and the number of this create among those of its task."""
    task_id = request.text("task-id")
    attempt = runs.count_create(task_id) if task_id else 1
    fail = request.text("demo-fail") if attempt <= request.number("demo-fail-times", attempt) else ""
    default_seconds = os.environ.get("CREATOR_DEMO_SECONDS") or "1.5"
    seconds = request.number("demo-seconds", number("CREATOR_DEMO_SECONDS", default_seconds))
    run = DemoRun(
        task_id=task_id,
        brief=request.brief(),
        start=time.time(),
        seconds=request.number("demo-first-seconds", seconds) if attempt == 1 else seconds,
        fail=fail,
    )
    return run, attempt


def _create_async(run: DemoRun) -> int:
    runs.save(run)
    _print(json.dumps({"taskId": run.task_id, "status": "submitted"}))
    return 0


def _create_sync(run: DemoRun) -> int:
    for step in range(_SYNC_STEPS):
        _print("progress: {percent}% {step}".format_map(runs.progress(step / _SYNC_STEPS)))
        time.sleep(run.seconds / _SYNC_STEPS)
    if run.fail == "failed":
        return _complain("the demo creator was told to fail", 1)
    _print_result(run)
    return 0


def _status(request: Request) -> int:
    run = runs.load(request.text("task-id"))
    if run is None:
        return _complain("there is no run of this task", 1)
    _print(json.dumps(run.status(time.time())))
    return 0


def _result(request: Request) -> int:
    run = runs.load(request.text("task-id"))
    if run is None or run.status(time.time())["status"] != "completed":
        return _complain("there is no result of this task", 1)
    _print_result(run)
    return 0


def _print_result(run: DemoRun) -> None:
    # imported here, because status and create are far more frequent and need no articles
    from worker_svc.demo_creator.article import document, pictures

    if Path.cwd() == Path(os.environ.get("TMPDIR", "/tmp")):  # where a worker runs it, and not anybody's own folder
        for name, picture in pictures(run.brief).items():
            Path(name).write_bytes(picture)
    text = json.dumps(document(run.brief), ensure_ascii=False)
    _write(misbehaviour.output(run.fail, text.encode("utf-8", "replace") + b"\n"))


def _print(text: str) -> None:
    _write(text.encode("utf-8", "replace") + b"\n")


def _write(output: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def _complain(text: str, status: int) -> int:
    sys.stderr.buffer.write(f"contentgen-demo-creator: {text.rstrip()}\n".encode("utf-8", "replace"))
    return status


if __name__ == "__main__":
    sys.exit(main())
