"""The processes of a campaign, their logs and sizes, and the honest work beside an attack.

A gardener keeps the hostile accounts worth attacking: else all would be deactivated within a second, and most calls end
at the first check.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import psutil

from contentgen import (
    ContentGenerationClient,
    ContentGenerationError,
    FailedPrecondition,
    ResourceExhausted,
    ResourceNotFoundException,
)
from lab.fuzz.case import Who
from lab.fuzz.values import LIMITS
from tests.harness.cluster import Databases, throwaway_server
from tests.harness.creators import ARTICLE
from tests.harness.credentials import line, write
from tests.harness.load import Callers
from tests.harness.stack import Scheduler, Worker, running_stack
from tests.harness.waiting import on_this_machine, wait_until

HONEST_ACCOUNT = 1
HOSTILE_ACCOUNTS = tuple(range(2, 10))
_ROLES = {Who.TIED: "operator", Who.CLIENT: "client", Who.WORKER: "worker", Who.OPERATOR: "operator"}
_MIB = 1 << 20


@dataclass
class Services:
    scheduler: Scheduler
    worker: Worker
    worker_id: str
    database_url: str
    tokens: Mapping[Who, str]
    honest_token: str
    memory: dict[str, list[int]] = field(default_factory=dict)
    """Resident bytes by process, one sample after another."""

    def sample(self) -> None:
        for name, pid in {"scheduler": self.scheduler.pid, "worker": self.worker.pid}.items():
            self.memory.setdefault(name, []).append(psutil.Process(pid).memory_info().rss)

    def stop(self) -> list[str]:
        """Tells worker and scheduler to end, as an operator would; what they did not do as they should have."""
        problems = []
        for service in (self.worker, self.scheduler):
            start = time.monotonic()
            try:
                service.stop()
            except AssertionError as error:
                problems.append(f"after {time.monotonic() - start:.0f} s: {error}: {service.tail()}")
        if given_up := [event["waits_for"] for event in self.scheduler.events("stop") if "waits_for" in event]:
            problems.append(f"the drain was given up at {given_up}: {self.scheduler.tail()}")
        return problems

    def troubles(self) -> list[str]:
        """Returns what is wrong with the processes: one that is gone, or has logged what it should not have to."""
        both = (self.scheduler, self.worker)
        problems = [f"{service.name} is gone: {service.tail()}" for service in both if not service.alive]
        within = WITHIN if self.scheduler.alive else 0
        problems += [
            f"{text}: {self.scheduler.tail()}" for text in stalls(partial(self.scheduler.events, "stall"), within)
        ]
        return problems + [
            f"{service.name} logged {text}" for service in both for text in alarms(service.log, {"stall"})
        ]


@contextmanager
def services() -> Iterator[Services]:
    """Runs them on a database of their own; at the end everything stops in order, and leaves nothing."""
    with (
        redirect_stdout(StringIO()),  # a stack shows its logs when it ends; here they are read
        throwaway_server() as server,
        closing(Databases(server)) as databases,
        databases.lent() as url,
        running_stack(url) as stack,
    ):
        tokens = {name: f"{name}-{uuid.uuid4().hex}" for name in _ROLES}
        honest_token = uuid.uuid4().hex
        tokens_file = _tokens_file(stack.folder, tokens, honest_token)
        scheduler = stack.scheduler(CONTENTGEN_TOKENS_FILE=str(tokens_file), CONTENTGEN_MAX_WORKER_LOSSES="1000")
        scheduler.start()
        _make_accounts(scheduler.target, tokens[Who.OPERATOR])
        worker_id = f"honest-{uuid.uuid4().hex}"
        worker = stack.quick_worker(worker_id, scheduler, CONTENTGEN_TOKEN=f"{honest_token}-worker").start()
        stranger = {Who.STRANGER: "a-token-of-nobody"}
        yield Services(scheduler, worker, worker_id, url, tokens | stranger, honest_token)


def _tokens_file(folder: Path, tokens: Mapping[Who, str], honest_token: str) -> Path:
    tied = {Who.TIED, Who.CLIENT}
    lines = [
        line(name, role, HOSTILE_ACCOUNTS if name in tied else None, tokens[name]) for name, role in _ROLES.items()
    ]
    lines += [
        line("honest client", "client", [HONEST_ACCOUNT], honest_token),
        line("honest worker", "worker", token=f"{honest_token}-worker"),
    ]
    return write(folder / "tokens", *lines)


def _make_accounts(target: str, token: str) -> None:
    """Makes the honest account and the hostile ones, whose ids the tokens are tied to."""
    with ContentGenerationClient(target, token=token) as client:
        for account_id in (HONEST_ACCOUNT, *HOSTILE_ACCOUNTS):
            account = client.create_account(f"account {account_id}")
            assert account["account_id"] == account_id, "a new database numbers its accounts from 1 on"


def alarms(log: Path, expected: Collection[str] = ()) -> list[str]:
    """Returns the lines of a service's log that no caller may cause: errors, tracebacks, and what is no event at all.

    Errors with `expected` actions are none.
    """
    lines = []
    for text in log.read_text(errors="replace").splitlines():
        try:
            event = json.loads(text)
        except ValueError:
            event = {"level": "error"}
        error = event.get("level") in {"error", "critical"} and event.get("action") not in expected
        if error or "exception" in event:
            lines.append(text[:2_000])
    return lines


def stalls(events: Callable[[], Sequence[Mapping[str, Any]]], within: float) -> list[str]:
    """Waits so many seconds at most until work goes on; returns where it stood still for too long, or still does.

    A scheduler says after three seconds that its work stands still, which may be the busy machine.
    """
    with suppress(AssertionError):
        wait_until(lambda: math.inf not in _stalls(events()), within=within, what="work goes on")
    return [f"work stood still for {span:.0f} s" for span in _stalls(events()) if span > on_this_machine(30.0)]


def _stalls(events: Sequence[Mapping[str, Any]]) -> list[float]:
    """Returns the seconds of each, from the first lane that stands still until none does; infinity until then."""
    spans, begin = [], None
    for event in events:
        logged = datetime.fromisoformat(event["timestamp"])
        begin = begin or logged
        if event["level"] == "info":
            spans.append((logged - begin).total_seconds())
            begin = None
    return [*spans, math.inf] if begin else spans


def growth(samples: list[int]) -> tuple[float, float]:
    """Returns the MiB after the warm-up of caches, pools and arenas, and at the end: medians of a few samples."""
    begin = int(len(samples) * 0.3)
    tenth = max(1, len(samples) // 10)
    return median(samples[begin : begin + tenth]) / _MIB, median(samples[-tenth:]) / _MIB


WITHIN = 120
"""Seconds in which a task has to complete, although hostile workers may take it and say no more of it."""


class _Beside(Callers):
    threads = 1

    def __init__(self, target: str, token: str) -> None:
        self._channel = grpc.insecure_channel(target)  # it retries no call, so that each failure is seen
        super().__init__(target, timeout=30.0, token=token, channel=self._channel)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Works until the block ends; each thread finishes its round."""
        for _ in range(self.threads):
            self.go(type(self).__name__, self.client, self._work)
        try:
            yield
        finally:
            self.stop()
            self._channel.close()

    def _work(self, client: ContentGenerationClient) -> None:
        while not self.over.is_set():
            try:
                self._round(client)
            except (ContentGenerationError, AssertionError) as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                self.over.wait(1)

    def _round(self, client: ContentGenerationClient) -> None:
        raise NotImplementedError


class Honest(_Beside):
    """Clients that submit a task, wait for its end, and look at what became of it."""

    threads = 2

    def __init__(self, target: str, token: str) -> None:
        super().__init__(target, token)
        self.seconds: list[float] = []
        """From each submit to its content, in the order in which they came."""

    def _round(self, client: ContentGenerationClient) -> None:
        start = time.monotonic()
        task_id = client.submit_task(HONEST_ACCOUNT, "honest work", priority=10)
        task = client.wait(task_id, timeout=WITHIN)
        assert task["status"] == "completed", f"an honest task is not completed: {task}"
        content = client.get_content(task["content_id"])
        assert content, f"an honest task has no content: {task}"
        assert content["body"] == ARTICLE, f"an honest task has the content of another: {content['body'][:200]!r}"
        self.seconds.append(time.monotonic() - start)


_UNLIMITED: dict[str, Any] = dict.fromkeys(LIMITS, 0)


class Gardener(_Beside):
    """An operator who tends the hostile accounts."""

    def _round(self, client: ContentGenerationClient) -> None:
        for account_id in HOSTILE_ACCOUNTS:
            with suppress(ResourceNotFoundException):  # a spoilt request has erased it
                client.update_account(account_id, active=True, **_UNLIMITED)
                client.resume_dispatch(account_id)
        tasks: list[Any] = [  # of a priority that is within any limit
            {"account_id": account_id, "topic": "to be attacked", "auto_approve": approve, "priority": 1}
            for account_id in HOSTILE_ACCOUNTS
            for approve in (True, False) * 3
        ]
        # One for RetryTask. Of many failures in a row the honest worker would think that its CLI is broken.
        failing = {"topic": "to fail", "priority": 1, "auto_retry": False, "creator_options": {"status": "3"}}
        tasks.append({"account_id": HOSTILE_ACCOUNTS[0], **failing})
        # It may be deactivated again, have a limit again, or be erased.
        with suppress(FailedPrecondition, ResourceExhausted, ResourceNotFoundException):
            client.submit_tasks(tasks)
        self.over.wait(1.0)
