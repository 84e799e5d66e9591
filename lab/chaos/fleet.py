"""The processes of a campaign: schedulers and workers, with wires, disks and a clock. `faults` hurts what is here."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from lab.chaos import creator
from lab.chaos.clients import NETWORK
from lab.chaos.evidence import CREATOR_JOURNAL
from lab.deployment.database import Database
from lab.deployment.deployment import WORKER_LOSSES, Deployment
from tests.harness.process import START_LIMIT
from tests.harness.stack import Scheduler
from tests.harness.waiting import wait_until
from tests.harness.wires import Wires

LEASE = 5.0
"""Seconds: the lease time of a campaign, the shortest that there is."""
EVERYTHING = "everything"
POSTGRES = "postgres"
_SCHEDULERS = ("scheduler-1", "scheduler-2")
_CLOCK = "CHAOS_CLOCK"
_CLOCK_PROGRAM = f"""\
import os, time

_file = os.open(os.environ["{_CLOCK}"], os.O_RDONLY)
_seconds, _nanoseconds = time.time, time.time_ns


def _off():
    return int(os.pread(_file, 99, 0))


time.time = lambda: _seconds() + _off()
time.time_ns = lambda: _nanoseconds() + _off() * 10**9
"""
"""What Python runs first in a process with such a clock."""


def worker_names(count: int) -> tuple[str, ...]:
    return tuple(f"worker-{number:02}" for number in range(1, count + 1))


def victims(workers: int) -> tuple[str, ...]:
    return (*worker_names(workers), *_SCHEDULERS, POSTGRES, EVERYTHING)


class Clock:
    """The clock of one process, by a file that says how far it is off; right until it is set.

    Only the time of day is of that clock. What counts seconds is the machine's own, as where somebody sets the time.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_CLOCK_PROGRAM)
        self._file = folder / name
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(self._file.parent), _CLOCK: str(self._file)}

    def set(self, seconds: int) -> None:
        with self._file.open("r+" if self._file.exists() else "w") as file:
            file.write(f"{seconds:+020d}")


class Fleet(Deployment):
    database: Database

    def __init__(self, folder: Path, workers: int, *, disks: bool) -> None:
        super().__init__(folder, disks=disks)
        self._worker_names = worker_names(workers)
        self.wires = Wires()
        self.clocks: dict[str, Clock] = {}
        """Of the schedulers, by name."""
        self.target = "ipv4:"
        """Of clients: every scheduler, each by a wire."""
        self.direct_targets: dict[str, str] = {}
        """Each scheduler's own address, past all wires, by name."""

    @property
    def worker_folders(self) -> list[Path]:
        return [worker.folder for worker in self._workers]

    def stop_services(self) -> list[str]:
        """Ends them in order, workers first; returns what did not end as it should."""
        self.rest()
        problems = []
        for node in (*self.of("worker"), *self.of("scheduler")):
            with node.lock:
                if not node.alive:
                    problems.append(f"{node.name} does not run (status {node.service.exit_status})")
                    continue
                try:
                    node.thaw()
                    node.service.stop()
                except AssertionError as error:
                    problems.append(str(error))
        return problems

    def await_health(self, within: float) -> None:
        """Waits until every service runs and a worker's session is open in each; fails like a test."""
        what = "all services are up again"
        wait_until(lambda: all(node.alive and node.served for node in self.services), within=within, what=what)

    def _launch(self, exits: ExitStack) -> None:
        self.database = self._add_database(exits, POSTGRES, 70)  # connections, of which two schedulers need about 50
        exits.enter_context(self.wires)
        schedulers = [self._add_scheduler(name) for name in _SCHEDULERS]
        wires = [self.wires.to_port(f"client/{scheduler.name}", scheduler.port) for scheduler in schedulers]
        self.target += ",".join(wire.target for wire in wires)
        program = write_creator(self.folder)
        for name in self._worker_names:
            self._add_worker(name, program, schedulers)
        for scheduler in schedulers:  # one after the other: the first migrates
            self.nodes[scheduler.name].launch()
            scheduler.wait_for("ready", within=START_LIMIT)
        for worker in self._workers:
            self.nodes[worker.name].launch()
        for worker in self._workers:
            worker.wait_for("session.opened", within=START_LIMIT)
        self._keep_up(exits)

    def _add_scheduler(self, name: str) -> Scheduler:
        """Clients and workers reach each by wires of their own, and each reaches PostgreSQL by one."""
        wire = self.wires.to_socket(f"store/{name}", self.database.socket)
        clock = self.clocks[name] = Clock(self.folder / "clocks", name)
        scheduler = self.scheduler(
            name,
            lease_ttl=LEASE,
            database_url=self.database.url_at(wire.port),
            CONTENTGEN_MAX_WORKER_LOSSES=WORKER_LOSSES,
            CONTENTGEN_ASSETS=str(self.folder / "assets"),
            CONTENTGEN_WEBHOOK_ALLOW=NETWORK,
            **clock.environment,
        )
        self._add(scheduler, "scheduler")
        self.direct_targets[name] = scheduler.target
        return scheduler

    def _add_worker(self, name: str, program: Path, schedulers: list[Scheduler]) -> None:
        targets = [self.wires.to_port(f"{name}/{scheduler.name}", scheduler.port).target for scheduler in schedulers]
        settings = creator_settings(program, name)
        worker = self.worker(name, ",".join(targets), slots=2, **settings)
        self._add(worker, "worker", disk=self._disk(worker.folder, 32 << 20))


def write_creator(folder: Path) -> Path:
    program = folder / "chaos-creator"
    source = Path(creator.__file__).read_text()
    program.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{source}")
    program.chmod(0o755)
    (folder / "runs").mkdir()
    return program


def creator_settings(program: Path, worker: str) -> dict[str, str]:
    """Returns those of a worker that runs this CLI, which journals in its folder."""
    return {
        "CREATOR_CLI_PATH": str(program),
        "CREATOR_ENV": creator.ENVIRONMENT,
        "CHAOS_WORKER": worker,
        "CHAOS_JOURNAL": str(program.parent / CREATOR_JOURNAL),
        "CHAOS_RUNS": str(program.parent / "runs"),
    }
