"""A scheduler, two workers and a console on this machine: their commands and settings, and the order of start and end.

A throw-away stack is gone afterwards, and touches nothing of a stack that the caller has. Layer: cli, between the
commands and `processes`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Never, Self, TypeVar

from contentgen.stack.processes import STOP_LIMIT, Interrupted, Interrupts, Service, StackError, end

WORKERS = 2
START_LIMIT = 60.0
"""Seconds for a service to start: far more than it takes, for machines that are busy."""
_POLL = 0.05

T = TypeVar("T")


def command(name: str) -> str:
    """Returns the path of a command that was installed beside this Python, or else for this user."""
    sibling = Path(sys.executable).with_name(name)
    return str(sibling) if sibling.exists() else shutil.which(name) or str(sibling)


def demo_creator(folder: Path) -> dict[str, str]:
    """Returns settings of a worker that runs the demo creator, which keeps its notes in `folder`."""
    return {
        "CREATOR_CLI_PATH": command("contentgen-demo-creator"),
        "CREATOR_PROFILE": "json",
        "CREATOR_ENV": "CREATOR_DEMO_DIR,CREATOR_DEMO_SECONDS",
        "CREATOR_OPTIONS_ALLOWED": "demo-seconds,demo-first-seconds,demo-fail,demo-fail-times",
        "CREATOR_DEMO_DIR": str(folder),
    }


class Stack:
    """Entered, a scheduler serves at `target`, a console at `console`, and two workers have been started; at the exit
    all have ended.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path, grace: float, interrupts: Interrupts) -> None:
        """Takes what it is made of.

        Args:
            environment: all settings of all services but CONTENTGEN_SCHEDULER.
            logs: the folder for a log of each.
            grace: seconds that running CLIs get at the end, before they are stopped.
            interrupts: checked during each wait.
        """
        self._environment = {**environment, "CONTENTGEN_LOG_FORMAT": "json"}
        self._logs = logs
        self._grace = grace
        self._interrupts = interrupts
        self._services: list[Service] = []
        """Those that were started: the scheduler, the workers, the console."""
        self._killed: Service | None = None
        self.target = self.console = ""

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from contentgen.client import RequestError  # a scheduler alone starts sooner without it

        try:
            if isinstance(error, RequestError):  # since a service is gone, or for the reason that it gives
                self.check()
                raise StackError(f"a call failed: {error.code} {error.message}", self._services[0].log) from error
        finally:
            self._end()

    def _start_scheduler(self) -> None:
        scheduler = self._service("scheduler", "contentgen-scheduler", {})
        self.target = self.until(lambda: _ready(scheduler, "listen"), within=START_LIMIT, what="the scheduler is ready")

    def _start(self) -> None:
        self._start_scheduler()
        # an address is for one process: the scheduler has it
        settings = {"CONTENTGEN_SCHEDULER": self.target, "CONTENTGEN_METRICS_LISTEN": ""}
        for number in range(1, WORKERS + 1):
            self._service(f"worker-{number}", "contentgen-worker", settings)
        console = self._service("console", "contentgen-console", settings)
        self.console = self.until(lambda: _ready(console, "console"), within=START_LIMIT, what="the console is ready")

    def _service(self, name: str, program: str, settings: Mapping[str, str]) -> Service:
        service = Service(name, [command(program)], {**self._environment, **settings}, self._logs / f"{name}.log")
        self._services.append(service)
        return service

    def _end(self) -> None:
        """Stops the scheduler last, so that the workers can still release their leases to it."""
        scheduler, others = self._services[:1], self._services[1:]
        try:
            end(others, self._grace, self._interrupts)
        finally:
            end(scheduler, self._grace, self._interrupts)

    def check(self) -> None:
        """Raises Interrupted if a signal came, StackError if a service has ended by itself."""
        self._interrupts.check()
        for service in self._services:
            if service is not self._killed:
                service.check()

    def kill_worker(self, worker_id: str) -> None:
        """Kills the worker that has this id; it is missed until `restart_worker`. Raises StackError if none has."""
        worker_field = f'"worker_id": "{worker_id}"'
        workers = (service for service in self._services if service.name.startswith("worker-"))
        victim = next((worker for worker in workers if worker_field in worker.log_text()), None)
        if victim is None:
            raise StackError(f"no worker has the id {worker_id}", self._logs)
        self._killed = victim
        victim.kill()

    def restart_worker(self) -> None:
        """Starts the worker again that was killed, if one was."""
        if self._killed is not None:
            self._killed.start()
            self._killed = None

    def keep_up(self, say: Callable[[str], None], pause: float) -> Never:
        """Restarts workers and consoles that end by themselves, and calls `say` for each; checks every `pause` seconds.

        Raises:
            StackError: the scheduler has ended.
            Interrupted: a signal came.
        """
        scheduler, *others = self._services
        while True:
            scheduler.check()
            for service in others:
                service.keep_up(say)
            self._interrupts.pause(pause)

    def until(self, condition: Callable[[], T | None], *, within: float, what: str) -> T:
        """Polls `condition`; returns its first true value.

        Raises:
            StackError: not within so many seconds, or a service ended meanwhile.
            Interrupted: a signal came.
        """
        deadline = time.monotonic() + within
        while not (value := condition()):
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"not within {within:g} s: {what}", self._logs)
            self._interrupts.pause(_POLL)
        return value


class SchedulerAlone(Stack):
    """A scheduler without workers and console."""

    def _start(self) -> None:
        self._start_scheduler()


def _ready(service: Service, field: str) -> str | None:
    """Returns the address that a service serves at, from that field of its log."""
    for line in service.log_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # no event, or one that is just being written
        if isinstance(event, dict) and event.get("action") == "ready":
            return str(event[field])
    return None


@contextmanager
def throwaway_folder(name: str, base: Path | None = None) -> Iterator[Path]:
    """Yields a temporary folder with an empty `data` in it. After a failure all but `data` is kept, for its logs.

    `base`: where it is; None: where temporary folders are.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"contentgen-{name}-", dir=base))
    folder.chmod(0o711)  # where root runs the stack, another user runs PostgreSQL, and has to pass through
    (folder / "data").mkdir(mode=0o711)
    failed = True
    try:
        yield folder
        failed = False
    except Interrupted:
        failed = False
        raise
    finally:
        _remove(folder / "data" if failed else folder)


def _remove(folder: Path) -> None:
    """Removes a folder. Tries again for a while: the PostgreSQL of a killed scheduler writes there until it ends."""
    deadline = time.monotonic() + STOP_LIMIT
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=time.monotonic() < deadline)
        time.sleep(_POLL)


def environment(folder: Path) -> dict[str, str]:
    """Returns settings of a stack in a throw-away folder, with the demo creator: the caller's variables without those
    that are meant for a stack of theirs.
    """
    data = folder / "data"
    of_stacks = ("CONTENTGEN_", "CREATOR_", "DATABASE_URL")
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(of_stacks) or name == "CONTENTGEN_PG_BINDIR"
    }
    return {
        **variables,
        **demo_creator(data / "creator"),
        "CONTENTGEN_DATA_DIR": str(data),
        "TMPDIR": str(data),  # the socket's folder too goes with it, where a killed scheduler can't remove it
        "CONTENTGEN_LISTEN": "127.0.0.1:0",
        "CONTENTGEN_CONSOLE_LISTEN": "127.0.0.1:0",
    }
