"""Logging in a process of its own, since it is set up once for the whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import logging
import structlog
from grpc import aio
from scheduler_svc.config import Settings, configure_logging

early = structlog.get_logger("early")
configure_logging(Settings(log_level="info", log_format={log_format!r}))
log = structlog.get_logger()
early.info("task leased", action="lease", task_id="task-1", lease_id="lease-1", attempt=1, worker_id="w1")
log.debug("not shown")
logging.getLogger("alembic").info("not shown")
logging.getLogger("grpc").warning("told by %s", "gRPC")
try:
    password = "secret"
    raise ValueError("two\\nlines")
except ValueError:
    log.exception("it failed", action="rpc")
try:
    raise aio.InternalError("nobody is there any more")
except aio.InternalError:
    logging.getLogger("grpc").exception("not shown")
"""


def logged(log_format: str) -> str:
    program = PROGRAM.format(log_format=log_format)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    return ended.stderr


def test_json_is_one_event_a_line_whoever_logs_it() -> None:
    events: list[dict[str, Any]] = [json.loads(line) for line in logged("json").splitlines()]
    for event in events:
        assert event.pop("timestamp").endswith("Z")
    leased, foreign, failed = events
    assert leased == {
        "event": "task leased",
        "level": "info",
        "action": "lease",
        "task_id": "task-1",
        "lease_id": "lease-1",
        "attempt": 1,
        "worker_id": "w1",
    }
    assert foreign == {"event": "told by gRPC", "level": "warning", "logger": "grpc"}
    assert "ValueError: two\nlines" in failed["exception"]


def test_the_console_is_for_people_and_shows_no_variables() -> None:
    shown = logged("console")
    assert "task leased" in shown
    assert "task_id=task-1" in shown
    assert "not shown" not in shown
    assert "ValueError: two" in shown
    assert "secret" not in shown
