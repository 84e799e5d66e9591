"""A scheduler for the tests of a process, and a new account on it for each test. Layer: testing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import NamedTuple

from contentgen.client import ContentGenerationClient, ResourceNotFoundException

DEFAULTS = {"CONTENTGEN_WEBHOOK_ALLOW": "127.0.0.0/8,::1/128"}
"""A test receives webhooks on its own machine."""
_BULK = 1_000
_MAX_NAME = 100


class SchedulerFailed(Exception):
    """There is no scheduler to test with; the message says why, and what to do about it."""


@contextmanager
def run_scheduler(settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yields the target of a scheduler of its own, on an empty database. Neither outlives this process.

    Args:
        settings: those of the scheduler, by their variables, beside `DEFAULTS`; the environment has no say.

    Raises:
        SchedulerFailed: it is not installed, or does not start.
    """
    if missing := next((module for module in ("alembic", "structlog") if find_spec(module) is None), None):
        raise SchedulerFailed(f"the module {missing} is missing: pip install 'contentgen-grpc[testing]'")
    program = [sys.executable, "-P", "-m", "contentgen.stack.for_tests", json.dumps({**DEFAULTS, **(settings or {})})]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    ) as process:
        assert process.stdout
        answer = json.loads(process.stdout.readline() or '{"error": "the scheduler was stopped before it was ready"}')
        if "error" in answer:
            raise SchedulerFailed(answer["error"].replace("contentgen-grpc[embedded]", "'contentgen-grpc[testing]'"))
        yield answer["target"]


class Server(NamedTuple):
    """Where a scheduler serves that nothing else uses, as clients take it, and an account on it."""

    target: str
    account_id: int


@contextmanager
def new_account(target: str, name: str) -> Iterator[Server]:
    """Creates an account. The end of the block leaves nothing that could reach another test, of whichever account."""
    with ContentGenerationClient(target) as client:
        server = Server(target, client.create_account(name[:_MAX_NAME])["account_id"])
        yield server
        client.deactivate_account(server.account_id)
        for schedule in client.iter_schedules():
            with suppress(ResourceNotFoundException):  # the service under test deletes it just now
                client.delete_schedule(schedule["schedule_id"])
        while client.bulk_cancel_tasks(force=True, limit=_BULK) == _BULK:
            pass
        client.resume_dispatch()
