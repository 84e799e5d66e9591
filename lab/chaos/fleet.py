"""The processes of a campaign, started and started again: schedulers and workers, their wires, disks and database.

Above `wires`, `disks` and `database`; `strikes` hurts what is here.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from lab.chaos import creator, receiver
from lab.chaos.clocks import Clock
from lab.chaos.database import Database
from lab.chaos.disks import Disk
from lab.chaos.evidence import CREATOR_JOURNAL
from lab.chaos.plan import EVERYTHING, LEASE, POSTGRES
from lab.chaos.undertaker import bury, undertaken
from tests.harness.processes import belonging_to
from tests.harness.stack import Scheduler, Worker
from tests.harness.waiting import wait_until
from tests.harness.wires import Wires

WORKER_LOSSES = "1000"
"""So that no task fails only because a campaign kills its workers all the time."""
_WORKERS_DISK = 32 << 20
_POSTGRES_DISK = 1 << 30
_LOOK_EVERY = 0.25
_PAUSE, _MAX_PAUSE = 0.5, 5.0
_READY_LIMIT = 60.0
_STEADY = 10.0
"""Seconds: what has run for so long is started again at once."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a fleet is."""

    workers: int = 10
    slots: int = 2
    schedulers: int = 2

    @property
    def worker_names(self) -> tuple[str, ...]:
        return tuple(f"worker-{number:02}" for number in range(1, self.workers + 1))

    @property
    def scheduler_names(self) -> tuple[str, ...]:
        return tuple(f"scheduler-{number}" for number in range(1, self.schedulers + 1))

    @property
    def victims(self) -> tuple[str, ...]:
        """All that a plan may hurt."""
        return (*self.worker_names, *self.scheduler_names, POSTGRES, EVERYTHING)


@dataclass(frozen=True, slots=True)
class Ended:
    """A service that has ended without being killed."""

    name: str
    status: int | None
    lived: float
    """Seconds since its start."""
    served: bool
    """Whether it had come up; else it may have missed its database."""


@dataclass
class Member:
    """One service. Whoever hurts it holds its lock, and meanwhile nobody starts it again."""

    service: Scheduler | Worker
    disk: Disk | None = None
    clock: Clock | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    _started_at: float = 0.0
    _pause: float = 0.0

    def launch(self) -> None:
        """Starts it where it does not run."""
        if not self.service.alive:
            self.service.launch()
            self._started_at = time.monotonic()

    def guard(self) -> psutil.Process | None:
        """Returns the guard of a worker; None while it has none."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return next(iter(psutil.Process(self.service.pid).children()), None)
        return None

    def processes(self) -> list[psutil.Process]:
        """Returns all of a worker's: itself, the guard, CLIs, whatever they have left."""
        assert isinstance(self.service, Worker)
        return belonging_to(self.service.folder)

    def revive(self) -> Ended | None:
        """Starts it again where it has ended by itself, with longer pauses each time that it does not come up."""
        if self.service.alive:
            return None
        lived = time.monotonic() - self._started_at
        self._pause = _PAUSE if lived > _STEADY else min(2 * self._pause or _PAUSE, _MAX_PAUSE)
        if lived < self._pause:
            return None
        ended = Ended(self.service.name, self.service.exit_status, lived, self.service.served)
        self.launch()
        return ended


class Fleet:
    """A context manager: all are up on entering, and on leaving nothing of it lives."""

    def __init__(self, folder: Path, shape: Shape, *, disks: bool) -> None:
        self.folder = folder
        self.shape = shape
        self.wires = Wires()
        self.members: dict[str, Member] = {}
        self.postgres_disk: Disk | None = None
        self.postgres_lock = threading.Lock()
        """Held by whoever hurts PostgreSQL; meanwhile nobody starts it again."""
        self.ended: list[Ended] = []
        self._disks = disks
        self._stack = ExitStack()
        self._resting = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            stack.enter_context(undertaken(self.folder))
            stack.callback(bury, self.folder)
            self._start_database(stack)
            stack.enter_context(self.wires)
            self._add_members()
            self._start_members()
            self._watch(self._revive_members, "members")
            self._watch(self._revive_database, "postgres")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def target(self) -> str:
        """Of clients: every scheduler, each by a wire."""
        return "ipv4:" + ",".join(self._client_targets)

    @property
    def direct_target(self) -> str:
        """The first scheduler, past all wires."""
        return next(iter(self.direct_targets.values()))

    @property
    def direct_targets(self) -> dict[str, str]:
        """Each scheduler's own address, past all wires, by name."""
        services = {name: self.members[name].service for name in self.shape.scheduler_names}
        return {name: service.target for name, service in services.items() if isinstance(service, Scheduler)}

    @property
    def worker_folders(self) -> list[Path]:
        return [member.service.folder for member in self.members.values() if isinstance(member.service, Worker)]

    def rest(self) -> None:
        """Nobody is revived from now on. Idempotent."""
        self._resting.set()

    def stop(self) -> list[str]:
        """Ends the services in order, workers first; what did not end as it should."""
        self.rest()
        problems = []
        for name in (*self.shape.worker_names, *self.shape.scheduler_names):
            member = self.members[name]
            with member.lock:
                if problem := _stop(member):
                    problems.append(problem)
        return problems

    def await_health(self, within: float) -> None:
        """Until every service runs and a worker's session is open in each; fails like a test."""
        wait_until(self._healthy, within=within, what="all services are up again")

    def _healthy(self) -> bool:
        return all(member.service.alive and member.service.served for member in self.members.values())

    def _start_database(self, stack: ExitStack) -> None:
        root = self.folder / "postgres"
        if self._disks:
            self.postgres_disk = self._disk(stack, root, _POSTGRES_DISK)
        self.database = Database(root)
        self.database.start()
        stack.callback(self.database.stop)

    def _disk(self, stack: ExitStack, folder: Path, size: int) -> Disk:
        disk = Disk(folder, size)
        stack.callback(disk.unmount)
        return disk

    def _add_members(self) -> None:
        """Clients and workers reach each scheduler by wires of their own, and each scheduler PostgreSQL by one."""
        schedulers = [self._scheduler(name) for name in self.shape.scheduler_names]
        self._client_targets = [
            self.wires.to_port(f"client/{scheduler.name}", scheduler.port).target for scheduler in schedulers
        ]
        program = write_creator(self.folder)
        (self.folder / "runs").mkdir()
        for name in self.shape.worker_names:
            self._add_worker(name, program, schedulers)

    def _scheduler(self, name: str) -> Scheduler:
        wire = self.wires.to_socket(f"store/{name}", self.database.socket)
        url = self.database.url_at(wire.port)
        clock = Clock(self.folder / "clocks", name)
        scheduler = Scheduler(
            name,
            self.folder,
            url,
            LEASE,
            CONTENTGEN_MAX_WORKER_LOSSES=WORKER_LOSSES,
            CONTENTGEN_ASSETS=str(self.folder / "assets"),
            CONTENTGEN_WEBHOOK_ALLOW=receiver.NETWORK,
            **clock.environment,
        )
        self.members[name] = Member(scheduler, clock=clock)
        return scheduler

    def _add_worker(self, name: str, program: Path, schedulers: list[Scheduler]) -> None:
        wires = [self.wires.to_port(f"{name}/{scheduler.name}", scheduler.port) for scheduler in schedulers]
        worker = Worker(
            name,
            self.folder,
            ",".join(wire.target for wire in wires),
            CONTENTGEN_SLOTS=str(self.shape.slots),
            CREATOR_CLI_PATH=str(program),
            CREATOR_ENV=creator.ENVIRONMENT,
            CHAOS_WORKER=name,
            CHAOS_JOURNAL=str(self.folder / CREATOR_JOURNAL),
            CHAOS_RUNS=str(self.folder / "runs"),
        )
        disk = self._disk(self._stack, worker.folder, _WORKERS_DISK) if self._disks else None
        self.members[name] = Member(worker, disk)

    def _start_members(self) -> None:
        for name in self.shape.scheduler_names:  # one after the other: the first migrates
            self.members[name].service.start()
        for name in self.shape.worker_names:
            self.members[name].launch()
        for name in self.shape.worker_names:
            self.members[name].service.wait_for("session.opened", within=_READY_LIMIT)

    def _watch(self, look: Callable[[], None], name: str) -> None:
        """Calls `look` again and again in a thread, until the fleet rests."""

        def looking() -> None:
            while not self._resting.wait(_LOOK_EVERY):
                look()

        thread = threading.Thread(target=looking, name=f"revive-{name}")
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self.rest)

    def _revive_members(self) -> None:
        for member in self.members.values():
            with _held(member.lock) as free:
                if free and (ended := member.revive()):
                    self.ended.append(ended)

    def _revive_database(self) -> None:
        with _held(self.postgres_lock) as free:
            if free:
                self.database.restart_if_gone()


@contextmanager
def _held(lock: threading.Lock) -> Iterator[bool]:
    """Whether the lock was free; then it is held meanwhile."""
    free = lock.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            lock.release()


def _stop(member: Member) -> str | None:
    """Returns what went wrong as the service was told to end."""
    service = member.service
    if not service.alive:
        return f"{service.name} does not run (status {service.exit_status})"
    try:
        service.thaw()
        service.stop()
    except AssertionError as error:
        return str(error)
    return None


def write_creator(folder: Path) -> Path:
    """Returns the campaign's CLI as a program of its own in `folder`."""
    program = folder / "chaos-creator"
    source = Path(creator.__file__).read_text()
    program.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{source}")
    program.chmod(0o755)
    return program
