"""Runs of the demo creator: asynchronous ones, each a file in a shared folder and the clock; and the journal of all.

An asynchronous run has no process, so it outlives its caller, like a run that was handed to a service. The journal has
one JSON line for each start and end of a `create`, so that runs can be counted:

    {"event": "start", "task_id": …, "pid": …, "time": …, "mode": …, "attempt": …, "topic": …, "topic_sha256": …}
    {"event": "child", "task_id": …, "pid": …, "time": …}        a process that `--demo-fail=fork` left behind
    {"event": "end", "task_id": …, "pid": …, "time": …, "status": …}

`time` is in seconds since the epoch, `attempt` counts the creates of the task id, `topic_sha256` is of the bytes as
received. A create that was killed has no end. Lines are appended atomically, so processes may share the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from worker_svc.demo_creator.brief import Brief


def write_journal(event: str, task_id: str, **more: object) -> None:
    """Appends one line to CREATOR_DEMO_JOURNAL, if that is set."""
    path = os.environ.get("CREATOR_DEMO_JOURNAL")
    if not path:
        return
    line = json.dumps({"event": event, "task_id": task_id, "pid": os.getpid(), "time": time.time(), **more})
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)


_STEPS = ("outline", "draft", "pictures", "review")


class DemoRun(NamedTuple):
    task_id: str
    brief: Brief
    start: float  # seconds since the epoch
    seconds: float  # how long it takes
    fail: str  # one of MISBEHAVIOURS, or empty

    def status(self, now: float) -> Mapping[str, object]:
        remaining = self.start + self.seconds - now
        if remaining > 0:
            part = 1 - remaining / max(self.seconds, remaining)
            return {"taskId": self.task_id, "status": "running", "progress": progress(part)}
        if self.fail == "failed":
            return {"taskId": self.task_id, "status": "failed", "error": "the demo creator was told to fail"}
        return {"taskId": self.task_id, "status": "completed", "progress": {"percent": 100, "step": "done"}}


def progress(part: float) -> dict[str, object]:
    part = min(max(part, 0.0), 0.99)
    return {
        "percent": int(100 * part),
        "step": _STEPS[int(part * len(_STEPS))],
        "message": "the demo creator is writing",
    }


def save(run: DemoRun) -> None:
    """Starts the run, and replaces an earlier one of its task."""
    path = _path(run.task_id, "json")
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(run._asdict()), encoding="ascii")
    scratch.replace(path)


def load(task_id: str) -> DemoRun | None:
    try:
        document = json.loads(_path(task_id, "json").read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    return DemoRun(**document | {"brief": Brief(*document["brief"])})


def count_create(task_id: str) -> int:
    """Counts a create of the task, across processes, and returns its number, from 1."""
    file = os.open(_path(task_id, "creates"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, b".")
        return os.lseek(file, 0, os.SEEK_CUR)
    finally:
        os.close(file)


def _path(task_id: str, suffix: str) -> Path:
    return _folder() / f"{hashlib.sha256(os.fsencode(task_id)).hexdigest()[:32]}.{suffix}"


def _folder() -> Path:
    path = os.environ.get("CREATOR_DEMO_DIR")
    if path:
        folder = Path(path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    folder = Path(os.environ.get("TMPDIR") or "/tmp") / f"contentgen-demo-creator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user; set CREATOR_DEMO_DIR")
    return folder
