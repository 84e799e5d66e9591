"""Logging of both services, each in a process of its own, since it is set up once for the whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

SERVICES = {
    "scheduler": """
from scheduler_svc.config import Settings, configure_logging
quiet = ("grpc", "asyncio", "sqlalchemy", "alembic")
def configure(log_format):
    configure_logging(Settings(log_level="info", log_format=log_format))
""",
    "worker": """
from worker_svc.logs import configure_logging
quiet = ("grpc", "asyncio")
def configure(log_format):
    configure_logging("info", log_format)
""",
}
PROGRAM = """
import logging
import structlog

early = structlog.get_logger("early")
configure({log_format!r})
structlog.contextvars.bind_contextvars(worker_id="w1")
log = structlog.get_logger()
early.info("task leased", action="lease", task_id="task-1", lease_id="lease-1", attempt=1)
log.debug("not shown")
for name in quiet:
    logging.getLogger(name).info("not shown")
logging.getLogger("grpc").warning("told by %s", "gRPC")
try:
    password = "secret"
    raise ValueError("two\\nlines")
except ValueError:
    log.exception("it failed", action="rpc")
    logging.getLogger("asyncio").exception("a callback failed")
"""
NOBODY_THERE = """
import logging
from grpc import aio

configure({log_format!r})
try:
    raise aio.InternalError("nobody is there any more")
except aio.InternalError:
    logging.getLogger("grpc").exception("not shown")
"""
UNREADABLE = """
from contentgen.v1 import worker_service_pb2 as pb
from grpc import _common

configure({log_format!r})
assert _common.deserialize(b"\\xff", pb.LeaseResponse.FromString) is None
"""

of_both = pytest.mark.parametrize("service", list(SERVICES))


def logged(service: str, log_format: str, program: str = PROGRAM) -> str:
    whole = SERVICES[service] + program.format(log_format=log_format)
    ended = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    return ended.stderr


@of_both
def test_json_is_one_event_a_line_whoever_logs_it(service: str) -> None:
    events: list[dict[str, Any]] = [json.loads(line) for line in logged(service, "json").splitlines()]
    for event in events:
        assert event.pop("timestamp").endswith("Z")
        assert event.pop("worker_id") == "w1"
    leased, foreign, failed, foreign_failed = events
    assert leased == {
        "event": "task leased",
        "level": "info",
        "action": "lease",
        "task_id": "task-1",
        "lease_id": "lease-1",
        "attempt": 1,
    }
    assert foreign == {"event": "told by gRPC", "level": "warning", "logger": "grpc"}
    assert "ValueError: two\nlines" in failed["exception"]
    assert "ValueError: two\nlines" in foreign_failed.pop("exception")
    assert foreign_failed == {"event": "a callback failed", "level": "error", "logger": "asyncio"}


@of_both
def test_the_console_is_for_people_and_shows_no_variables(service: str) -> None:
    shown = logged(service, "console")
    assert "task leased" in shown
    assert "task_id=task-1" in shown
    assert "not shown" not in shown
    assert "ValueError: two" in shown
    assert "secret" not in shown


def test_an_answer_for_one_who_hung_up_is_no_error_of_the_schedulers() -> None:
    assert logged("scheduler", "json", NOBODY_THERE) == ""


def test_a_message_that_cannot_be_read_is_told_once_by_the_worker_where_its_stream_ends() -> None:
    assert logged("worker", "json", UNREADABLE) == ""
