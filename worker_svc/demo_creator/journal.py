"""The journal of the demo creator: one JSON line for each start and end of a `create`, so that runs can be counted.

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


def topic_hash(topic: str) -> str:
    """SHA-256, in hex, of the topic's bytes as received."""
    return hashlib.sha256(os.fsencode(topic)).hexdigest()


def write(event: str, task_id: str, **more: object) -> None:
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
