"""A cluster: its processes, put together, kept up, and ended. Above `nodes`, below `faults`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from lab.chaos.database import Database
from lab.chaos.disks import Disk
from lab.chaos.undertaker import bury, undertaken
from lab.cluster import balancer, monitoring, surroundings
from lab.cluster.nodes import DatabaseNode, Node, ServiceNode
from lab.cluster.options import Options
from lab.cluster.readings import Reading, Readings
from tests.harness.creators import quick_creator
from tests.harness.process import Process, found_program, inherited
from tests.harness.processes import free_port
from tests.harness.stack import Scheduler, Worker

CONNECTIONS_OF_A_SCHEDULER = 30
"""At most."""
_SPARE_CONNECTIONS = 20
_WORKERS_DISK, _POSTGRES_DISK = 16 << 20, 1 << 30
_RESTART_PAUSE = 1.0
_DRAIN_LIMIT, _STOP_LIMIT = 4.0, 4.0
"""Seconds from one TERM to the next, or to the kill."""
_POLL = 0.05
MAX_WORKERS = 20


class ClusterError(Exception):
    """It can't be started; the text says what is missing."""


class Cluster:
    """A context manager: on entering the processes are started, on leaving nothing of them lives."""

    def __init__(self, folder: Path, options: Options, say: Callable[[str], None], *, disks: bool) -> None:
        self.folder = folder
        self.target = f"127.0.0.1:{free_port()}"
        """The balancer's address."""
        self.prometheus_port: int | None = None
        self.schedulers: list[Node] = []
        self.workers: list[Node] = []
        self.others: list[Node] = []
        """Database, balancer, Prometheus."""
        self._options = options
        self._say = say
        self._has_disks = disks
        self._disks: list[Disk] = []
        self._stack = ExitStack()
        self._retry_at: dict[str, float] = {}
        self._numbers = 0
        """Of the workers so far."""
        self._addresses: list[tuple[str, str, int]] = []
        """Of the schedulers, with the ports of their probes."""

    def __enter__(self) -> Self:
        haproxy = found_program("haproxy")
        if haproxy is None:
            raise ClusterError("haproxy is not installed (Debian: apt install haproxy)")
        with ExitStack() as stack:
            self._stack = stack
            stack.enter_context(undertaken(self.folder))
            stack.callback(self._unmount)
            stack.callback(bury, self.folder)
            stack.callback(self._end_others)
            self._add_database()
            self._add_schedulers()
            self._add_balancer(haproxy)
            self._add_prometheus()
            stack.callback(self._end_services)
            for node in (*self.others[1:], *self.schedulers):
                node.start()
            self.scale(self._options.workers)
            self.readings = stack.enter_context(Readings(self._targets, self.prometheus_port))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def nodes(self) -> list[Node]:
        return [*self.others, *self.schedulers, *self.workers]

    @property
    def database(self) -> Node:
        return self.others[0]

    @property
    def surroundings(self) -> Path:
        """What a shell beside it reads, so that a runbook's commands work."""
        return self.folder / surroundings.FILE

    def healthy(self, since: float = 0.0) -> bool:
        """Returns whether all run and serve, by a reading that was begun after `since`."""
        return self.readings.last.taken > since and not self.unwell(self.readings.last)

    def unwell(self, reading: Reading) -> list[str]:
        """Returns why it is not healthy."""
        return [f"{node.name} is not well" for node in self.nodes if not node.leaves and not _is_well(node, reading)]

    def scale(self, workers: int) -> None:
        """Starts workers, or lets the last ones drain."""
        staying = [worker for worker in self.workers if not worker.leaves]
        for worker in staying[workers:]:
            worker.leaves = True
            worker.thaw()
            worker.end()
        for _ in range(min(workers, MAX_WORKERS) - len(staying)):
            self._numbers += 1
            worker = self._worker(f"worker-{self._numbers}")
            worker.start()
            self.workers.append(worker)
        self._write_targets()

    def keep_up(self) -> None:
        """Starts again what has ended and should not have; to be called again and again."""
        leavers = [worker for worker in self.workers if worker.leaves and not worker.alive]
        for worker in leavers:
            self.workers.remove(worker)
        for node in self.nodes:
            if node.alive or node.held or node.leaves:
                self._retry_at.pop(node.name, None)
            elif node.starting:
                continue
            elif node.name not in self._retry_at:
                self._say(f"{node.name} has ended" + (f" with status {node.status}" if node.status is not None else ""))
                self._retry_at[node.name] = time.monotonic() + _RESTART_PAUSE
            elif time.monotonic() >= self._retry_at[node.name]:
                self._retry_at[node.name] = time.monotonic() + _RESTART_PAUSE
                node.start()

    def _add_database(self) -> None:
        root = self.folder / "postgres"
        disk = self._disk(root, _POSTGRES_DISK)
        connections = self._options.schedulers * CONNECTIONS_OF_A_SCHEDULER + _SPARE_CONNECTIONS
        self.postgres = Database(root, connections)
        self.postgres.start()
        self._stack.callback(self.postgres.stop)
        node = DatabaseNode(self.postgres, disk)
        self._stack.callback(node.join)
        self.others.append(node)

    def _disk(self, folder: Path, size: int) -> Disk | None:
        if not self._has_disks:
            return None
        self._disks.append(Disk(folder, size))
        return self._disks[-1]

    def _unmount(self) -> None:
        for disk in self._disks:
            disk.unmount()

    def _add_schedulers(self) -> None:
        for number in range(1, self._options.schedulers + 1):
            probes = free_port()
            scheduler = Scheduler(
                f"scheduler-{number}",
                self.folder,
                self.postgres.url,
                self._options.lease,
                CONTENTGEN_METRICS_LISTEN=f"127.0.0.1:{probes}",
                CONTENTGEN_MAX_WORKER_LOSSES="1000",  # no task fails only since somebody likes to kill workers
            )
            self.schedulers.append(ServiceNode(scheduler, "scheduler", probes))
            self._addresses.append((scheduler.name, scheduler.target, probes))
        self._creator = quick_creator(self.folder)

    def _add_balancer(self, haproxy: str) -> None:
        settings, metrics = self.folder / "haproxy.cfg", free_port()
        balancer.write_settings(settings, int(self.target.rpartition(":")[2]), metrics, self._addresses)
        monitoring.write_targets(self.folder, "balancer", [("balancer", metrics)])
        command = [haproxy, "-db", "-f", str(settings)]
        self._add_program("balancer", command)

    def _add_prometheus(self) -> None:
        program = found_program("prometheus")
        if program is None:
            self._say("no alerts: prometheus is not installed (Debian: apt install prometheus)")
            return
        self.prometheus_port = free_port()
        settings = monitoring.write_settings(self.folder)
        data, address = self.folder / "prometheus", f"127.0.0.1:{self.prometheus_port}"
        self._add_program(
            "prometheus",
            [program, f"--config.file={settings}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"],
        )

    def _add_program(self, name: str, command: list[str]) -> None:
        self.others.append(ServiceNode(Process(name, command, self.folder / f"{name}.log", inherited()), name))

    def _worker(self, name: str) -> Node:
        probes = free_port()
        worker = Worker(
            name,
            self.folder,
            self.target,
            CONTENTGEN_SLOTS=str(self._options.slots),
            CONTENTGEN_METRICS_LISTEN=f"127.0.0.1:{probes}",
            CREATOR_CLI_PATH=str(self._creator),
        )
        return ServiceNode(worker, "worker", probes, self._disk(worker.folder, _WORKERS_DISK))

    def _targets(self) -> dict[str, int]:
        nodes = [*self.schedulers, *self.workers]
        return {node.name: node.probes for node in nodes if node.probes is not None}

    def _write_targets(self) -> None:
        for kind, nodes in (("scheduler", self.schedulers), ("worker", self.workers)):
            staying = ((node.name, node.probes) for node in nodes if not node.leaves and node.probes is not None)
            monitoring.write_targets(self.folder, kind, staying)
        settings = {
            "CONTENTGEN_SCHEDULER": self.target,
            "DATABASE_URL": self.postgres.url.replace("postgresql+psycopg2", "postgresql"),
            **({"PROMETHEUS": f"http://127.0.0.1:{self.prometheus_port}"} if self.prometheus_port else {}),
        }
        addresses = {name: address for name, address, _ in self._addresses}
        surroundings.write(self.folder, settings, addresses, [*self.schedulers, *self.workers])

    def _end_services(self) -> None:
        """Workers first, so that they can give their leases back."""
        _end(self.workers)
        _end(self.schedulers)

    def _end_others(self) -> None:
        _end(self.others[1:])


def _is_well(node: Node, reading: Reading) -> bool:
    if not node.alive or node.frozen or node.held:
        return False
    if node.probes is None:
        return True
    samples = reading.samples.get(node.name, {})
    if node.kind == "scheduler":
        return samples.get("contentgen_serving") == 1
    signs = ("contentgen_worker_connected", "contentgen_worker_disk_writable", "contentgen_worker_circuit_closed")
    return all(samples.get(sign) == 1 for sign in signs)


def _end(nodes: list[Node]) -> None:
    """TERM drains, TERM again stops, KILL comes last."""
    for node in nodes:
        if node.frozen:
            node.thaw()
    for limit in (_DRAIN_LIMIT, _STOP_LIMIT):
        for node in _alive(nodes):
            node.end()
        deadline = time.monotonic() + limit
        while _alive(nodes) and time.monotonic() < deadline:
            time.sleep(_POLL)
    for node in _alive(nodes):
        node.kill()


def _alive(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.alive]
