"""The processes of a campaign: a scheduler that checks tokens, and an honest worker; their logs and their sizes."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from statistics import median

import grpc
import psutil

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from lab.fuzz.case import Who
from tests.harness.cluster import Databases, throwaway_server
from tests.harness.creators import quick_creator
from tests.harness.credentials import line, write
from tests.harness.stack import Scheduler, Stack, Worker, running_stack

HONEST_ACCOUNT = 1
HOSTILE_ACCOUNTS = tuple(range(2, 10))
HONEST = "honest"
"""Name of the token of the honest worker, and of that of the honest client."""
_ROLES = {Who.TIED: "operator", Who.CLIENT: "client", Who.WORKER: "worker", Who.OPERATOR: "operator"}
_MIB = 1 << 20


@dataclass
class Services:
    """What is attacked."""

    stack: Stack
    scheduler: Scheduler
    worker: Worker
    worker_id: str
    database_url: str
    tokens: Mapping[Who, str]
    honest_token: str
    memory: dict[str, list[int]] = field(default_factory=dict)
    """Resident bytes by process, one sample after another."""

    def sample(self) -> None:
        """Adds how large each process is now."""
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
        losses = [
            f"{service.name} is gone: {service.tail()}"
            for service in (self.scheduler, self.worker)
            if not service.alive
        ]
        logged = [
            f"{service.name} logged {text}" for service in (self.scheduler, self.worker) for text in alarms(service.log)
        ]
        return losses + logged


@contextmanager
def services() -> Iterator[Services]:
    """On a database of their own; at the end everything stops in order, and leaves nothing."""
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
        worker = stack.worker(
            worker_id,
            scheduler,
            CONTENTGEN_TOKEN=f"{honest_token}-worker",
            CREATOR_CLI_PATH=str(quick_creator(stack.folder)),
        ).start()
        stranger = {Who.STRANGER: "a-token-of-nobody"}
        yield Services(stack, scheduler, worker, worker_id, url, tokens | stranger, honest_token)


def _tokens_file(folder: Path, tokens: Mapping[Who, str], honest_token: str) -> Path:
    tied = {Who.TIED, Who.CLIENT}
    lines = [
        line(name, role, HOSTILE_ACCOUNTS if name in tied else None, tokens[name]) for name, role in _ROLES.items()
    ]
    lines += [
        line(HONEST, "client", [HONEST_ACCOUNT], honest_token),
        line(f"{HONEST}-worker", "worker", token=f"{honest_token}-worker"),
    ]
    return write(folder / "tokens", *lines)


def _make_accounts(target: str, token: str) -> None:
    """The honest account and the hostile ones, whose ids the tokens are tied to."""
    with grpc.insecure_channel(target) as channel:
        stub = AccountServiceStub(channel)
        for account_id in (HONEST_ACCOUNT, *HOSTILE_ACCOUNTS):
            request = account_pb.CreateAccountRequest(name=f"account {account_id}")
            metadata = (("authorization", f"Bearer {token}"),)
            account = stub.CreateAccount(request, timeout=15, metadata=metadata).account
            assert account.account_id == account_id, "a new database numbers its accounts from 1 on"


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


WARM_UP = 0.3
"""The part of the samples in which a process may still grow: caches, pools, arenas."""


def growth(samples: list[int]) -> tuple[float, float]:
    """Returns the MiB after the warm-up and at the end, each the median of a few samples."""
    begin = int(len(samples) * WARM_UP)
    tenth = max(1, len(samples) // 10)
    return median(samples[begin : begin + tenth]) / _MIB, median(samples[-tenth:]) / _MIB
