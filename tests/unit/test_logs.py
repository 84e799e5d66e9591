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
from contentgen.service.logs import follow_level_signals
quiet = ("grpc", "asyncio", "sqlalchemy", "alembic")
def configure(log_format):
    configure_logging(Settings(log_level="info", log_format=log_format))
def follow(loop, level):
    settings = Settings(log_level=level, log_format="json")
    configure_logging(settings)
    follow_level_signals(loop, level)
""",
    "worker": """
from contentgen.service.logs import follow_level_signals
from worker_svc.logs import configure_logging
quiet = ("grpc", "asyncio")
def configure(log_format):
    configure_logging("info", log_format)
def follow(loop, level):
    configure_logging(level, "json")
    follow_level_signals(loop, level)
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
LONG = """
import structlog

configure({log_format!r})
structlog.get_logger().info("task leased", action="lease", lease_id="x" * 1_000_000, attempt=1)
"""

LEVELS = """
import asyncio, os, signal
import structlog

log = structlog.get_logger()
async def main():
    follow(asyncio.get_running_loop(), {level!r})
    for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(os.getpid(), number)
        await asyncio.sleep(0)  # the loop reads that a signal came
        await asyncio.sleep(0)  # and calls its handler
        log.debug("a step")
asyncio.run(main())
"""

of_both = pytest.mark.parametrize("service", list(SERVICES))


def logged(service: str, log_format: str, program: str = PROGRAM) -> str:
    return run(service, program.format(log_format=log_format))


def run(service: str, program: str) -> str:
    whole = SERVICES[service] + program
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


@of_both
@pytest.mark.parametrize("level", ["info", "error"])
def test_a_change_of_the_level_is_told_while_debug_is_shown(service: str, level: str) -> None:
    events = [json.loads(line) for line in run(service, LEVELS.format(level=level)).splitlines()]
    changes = [(event["former"], event["present"]) if "former" in event else event["event"] for event in events]
    unchanged = [(level, level)] if level == "info" else []
    assert changes == [*unchanged, (level, "debug"), "a step", ("debug", "debug"), "a step", ("debug", level)]


def test_an_answer_for_one_who_hung_up_is_no_error_of_the_schedulers() -> None:
    assert logged("scheduler", "json", NOBODY_THERE) == ""


def test_a_message_that_cannot_be_read_is_told_once_by_the_worker_where_its_stream_ends() -> None:
    assert logged("worker", "json", UNREADABLE) == ""


def test_a_value_that_a_scheduler_sent_is_bounded() -> None:
    program = LONG.format(log_format="json")
    (event,) = [json.loads(line) for line in run("worker", program).splitlines()]
    assert event["lease_id"] == "x" * 1_000 + "…"
    assert event["attempt"] == 1
