"""Schedulers and workers as real processes in a folder of their own, of which nothing is left, and what their creators
wrote down.
"""

from __future__ import annotations

import json
import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from scheduler_svc.postgres.folders import socket_folder
from scheduler_svc.postgres.programs import server_user_for
from tests.harness.client import Client
from tests.harness.cluster import server_folder
from tests.harness.creators import quick_creator
from tests.harness.process import STOP_LIMIT, Service, installed
from tests.harness.processes import belonging_to, bury, children, free_port, living, moment, process_of, signal_all
from tests.harness.waiting import wait_until, wait_until_gone

DEMO_CREATOR = installed("contentgen-demo-creator")
SHORT_LEASE = 5.0
"""Seconds: the shortest lease time that there is."""
EMBEDDED = ""
"""Instead of a database's URL: the scheduler's embedded PostgreSQL."""
_GONE_LIMIT = 10.0
_CREATOR_VARIABLES = ("CREATOR_DEMO_JOURNAL", "CREATOR_DEMO_DIR", "CREATOR_DEMO_SECONDS")


class Scheduler(Service):
    """`contentgen-scheduler` on a port that it keeps over restarts."""

    def __init__(self, name: str, folder: Path, database_url: str, lease_ttl: float, **settings: str) -> None:
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self.data_dir = Path(settings.get("CONTENTGEN_DATA_DIR", folder / name))
        self._client: Client | None = None
        variables = {
            "CONTENTGEN_DATA_DIR": str(self.data_dir),
            "CONTENTGEN_LISTEN": self.target,
            "CONTENTGEN_LEASE_TTL": f"{lease_ttl:g}",
            "DATABASE_URL": database_url,
            **settings,
        }
        super().__init__(name, "contentgen-scheduler", "ready", folder, variables)

    @property
    def client(self) -> Client:
        """A client of it; a new one after each start."""
        if self._client is None:
            self._client = Client(self.target)
        return self._client

    def kill(self) -> None:
        self.close_client()
        super().kill()

    def kill_with_database(self) -> None:
        """Kills the scheduler and each process of its embedded PostgreSQL by SIGKILL."""
        servers = self._database_processes()
        self.kill()
        _kill_all(servers)

    def kill_database(self) -> None:
        """Kills each process of its embedded PostgreSQL by SIGKILL."""
        _kill_all(self._database_processes())

    def stop(self, within: float = STOP_LIMIT) -> None:
        self.close_client()
        super().stop(within)

    def _database_processes(self) -> list[psutil.Process]:
        servers = children(self.pid, recursive=True)
        assert any("postgres" in process.name() for process in servers)
        return servers

    def close_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def socket_folder(self) -> Path:
        """Returns where an embedded PostgreSQL of this scheduler has its socket."""
        root = (self.data_dir / "postgres").resolve()
        return socket_folder(root, server_user_for(root / "data"))


class Worker(Service):
    """`contentgen-worker` with the demo creator, whose creates are in the stack's journal."""

    def __init__(self, name: str, folder: Path, target: str, **settings: str) -> None:
        self.folder = folder / name
        variables = {
            "CONTENTGEN_WORKER_ID": name,
            "CONTENTGEN_DATA_DIR": str(self.folder),
            "CONTENTGEN_SCHEDULER": target,
            "CREATOR_CLI_PATH": str(DEMO_CREATOR),
            "CREATOR_PROFILE": "json",
            "CREATOR_POLL_INTERVAL": "0.2",
            "CREATOR_ENV": ",".join(_CREATOR_VARIABLES),
            "CREATOR_OPTIONS_ALLOWED": "*",
            "CREATOR_DEMO_JOURNAL": str(folder / "journal"),
            "CREATOR_DEMO_DIR": str(folder / "runs"),
            **settings,
        }
        super().__init__(name, "contentgen-worker", "session.opened", folder, variables)

    def spooled(self) -> list[Path]:
        return list(self.folder.glob("workers/*/spool/*.batch"))

    def started(self) -> list[Path]:
        """Returns the marks of CLIs that may have been started, and whose ends are not all in the spool."""
        return list(self.folder.glob("workers/*/started/*"))


class Stack:
    """The processes of one scenario. All of them end with it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal")
        self._start = moment()
        self._database_url = database_url
        self._schedulers: list[Scheduler] = []
        self._workers: list[Worker] = []

    def scheduler(
        self,
        name: str = "scheduler",
        *,
        lease_ttl: float = SHORT_LEASE,
        database_url: str | None = None,
        **settings: str,
    ) -> Scheduler:
        """Returns a scheduler, not started, on the test's own database or on another one."""
        url = self._database_url if database_url is None else database_url
        scheduler = Scheduler(name, self.folder, url, lease_ttl, **settings)
        self._schedulers.append(scheduler)
        return scheduler

    def worker(self, name: str, scheduler: Scheduler | str, *, slots: int = 3, **settings: str) -> Worker:
        """Returns a worker, not started, of a scheduler or a gRPC target."""
        target = scheduler if isinstance(scheduler, str) else scheduler.target
        worker = Worker(name, self.folder, target, CONTENTGEN_SLOTS=str(slots), **settings)
        self._workers.append(worker)
        return worker

    def quick_worker(self, name: str, scheduler: Scheduler | str, *, slots: int = 3, **settings: str) -> Worker:
        """Returns a worker, not started, of the CLI that `quick_creator` writes."""
        cli = str(quick_creator(self.folder))
        return self.worker(name, scheduler, slots=slots, CREATOR_CLI_PATH=cli, **settings)

    def stop(self) -> None:
        """Stops all in order, workers first; each has to end by itself and in time."""
        for service in (*self._workers, *self._schedulers):
            if service.alive:
                service.thaw()
                service.stop()
        wait_until_gone(
            lambda: belonging_to(self.folder, self._start), within=_GONE_LIMIT, what="no process of the stack is left"
        )
        left = [folder for scheduler in self._schedulers if (folder := scheduler.socket_folder()).exists()]
        assert not left, "a server's socket is left"

    def end(self) -> None:
        """Kills what is left, and shows the logs, which pytest prints for failed tests."""
        for scheduler in self._schedulers:
            scheduler.close_client()
        for service in (*self._schedulers, *self._workers):
            print(f"==> {service.name} <==\n{service.tail()}")
            if service.alive:
                service.kill()
        bury(self.folder, self._start)


@contextmanager
def running_stack(database_url: str) -> Iterator[Stack]:
    """Yields a stack in a folder that any user's server can reach."""
    with server_folder() as folder:
        stack = Stack(folder, database_url)
        try:
            yield stack
            stack.stop()
        finally:
            stack.end()


def _kill_all(processes: list[psutil.Process]) -> None:
    """Returns once none of them is left."""
    signal_all(processes, signal.SIGKILL)
    wait_until_gone(lambda: living(processes), within=_GONE_LIMIT, what="what was killed is gone")


# What the creators of a stack wrote into their journal: which creates there were, and which processes they were.


@dataclass
class Create:
    """One run of the CLI's `create`."""

    task_id: str
    pid: int
    time: float
    """Seconds since the epoch."""
    topic: str = ""
    topic_sha256: str = ""
    """Of the bytes as the program received them."""
    children: list[int] = field(default_factory=list)
    """Processes that it left behind (`--demo-fail=fork`)."""
    status: int | None = None
    """Its exit status; None while it runs, and if it was killed."""
    end_time: float | None = None

    def processes(self) -> list[psutil.Process]:
        """Returns its living processes and those that it left behind."""
        return living(process for pid in (self.pid, *self.children) if (process := process_of(pid)))


class Journal:
    """The file that CREATOR_DEMO_JOURNAL names; any number of processes append to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def creates(self, task_id: str | None = None) -> list[Create]:
        """Returns all creates so far in the order of their starts, or those of one task."""
        creates: list[Create] = []
        for line in self._lines():
            if line["event"] == "start":
                topic, sha256 = line.get("topic", ""), line.get("topic_sha256", "")
                creates.append(Create(line["task_id"], line["pid"], line["time"], topic, sha256))
            elif line["event"] == "child":
                _latest(creates, line).children.append(line["pid"])
            elif line["event"] == "end":
                create = _latest(creates, line, pid=line["pid"])
                create.status, create.end_time = line["status"], line["time"]
        return [create for create in creates if task_id in (None, create.task_id)]

    def running(self, task_id: str) -> Create:
        """Returns the latest create of a task, once there is one; it has to run."""
        create = wait_until(lambda: self.creates(task_id), within=10, what=f"the CLI of {task_id} has started")[-1]
        assert create.processes(), f"the CLI of {task_id} does not run"
        return create

    def ended(self, task_id: str) -> list[Create]:
        """Returns the creates of a task that ended by themselves."""
        return [create for create in self.creates(task_id) if create.status is not None]

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        text = self.path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _latest(creates: list[Create], line: dict[str, Any], pid: int | None = None) -> Create:
    return next(
        create for create in reversed(creates) if create.task_id == line["task_id"] and pid in (None, create.pid)
    )


# The programs of the version before this one: its own code, on the packages that are installed here. `tests/previous`
# has its wheel, which `make previous` builds from a commit.


_WHEELS = Path(__file__).parents[1] / "previous"
_PROGRAM = """\
#!{python}
import sys
sys.path.insert(0, {site!r})
from {module}.main import main
main()
"""


@dataclass(frozen=True)
class Previous:
    scheduler: Path
    worker: Path


def previous_version(folder: Path) -> Previous:
    """Unpacks it into `folder`."""
    (wheel,) = _WHEELS.glob("contentgen_grpc-*.whl")
    site = folder / "previous"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return Previous(_program(site, "scheduler_svc"), _program(site, "worker_svc"))


def _program(site: Path, module: str) -> Path:
    path = site / f"{module}.program"
    path.write_text(_PROGRAM.format(python=sys.executable, site=str(site), module=module))
    path.chmod(0o755)
    return path
