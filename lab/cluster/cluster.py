"""A cluster: a deployment with HAProxy before its schedulers, and Prometheus beside it. Below `faults`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from lab.cluster import readings
from lab.cluster.options import Options
from lab.cluster.patroni import HAPROXY, Machines
from lab.cluster.readings import Reading, Readings
from lab.deployment.database import Database
from lab.deployment.deployment import WORKER_LOSSES, Deployment, Node
from tests.harness.process import Process, found_program, inherited
from tests.harness.processes import free_port
from tests.harness.proxies import HAPROXY_SETTINGS
from tests.harness.stack import Scheduler

MAX_WORKERS = 20
# HAProxy as docs/how-to/load-balancers.md sets it up, with health checks. Where no scheduler is ready, as while the
# database is away, calls go to them all the same: they return a better error.
_HAPROXY = """
defaults
  mode http
  timeout connect 5s
  {settings}
  timeout check 1s
frontend workers_and_callers
  bind {target} proto h2
  use_backend all if {{ nbsrv(ready) eq 0 }}
  default_backend ready
frontend metrics
  bind 127.0.0.1:{metrics}
  timeout client 5s
  http-request use-service prometheus-exporter if {{ path /metrics }}
backend ready
  option redispatch
  option httpchk GET /readyz
  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
  {ready}
backend all
  option redispatch
  {all}
"""


class ClusterError(Exception):
    """It can't be started; the text says what is missing."""


class Cluster(Deployment):
    """On entering the processes are started."""

    database: Database | Machines
    readings: Readings

    def __init__(self, folder: Path, options: Options, say: Callable[[str], None], *, disks: bool) -> None:
        super().__init__(folder, disks=disks)
        self.target = f"127.0.0.1:{free_port()}"
        self.prometheus_port: int | None = None
        self.pager = readings.Pager()
        self.surroundings = folder / "env"
        """What a shell beside it reads, so that a runbook's commands work."""
        self._options = options
        self._say = say
        self._numbers = 0
        self._undiscovered: Node | None = None

    @property
    def schedulers(self) -> list[Node]:
        return self.of("scheduler")

    @property
    def workers(self) -> list[Node]:
        return self.of("worker")

    @property
    def staying(self) -> list[Node]:
        """The workers that are not told to leave."""
        return [worker for worker in self.workers if not worker.leaves]

    def healthy(self, since: float = 0.0) -> bool:
        """Returns whether all run and serve, by a reading that was begun after `since`."""
        return self.readings.last.taken > since and not self.unwell(self.readings.last)

    def unwell(self, reading: Reading) -> list[str]:
        nodes = [node for node in self.nodes.values() if not node.leaves]
        unwell = [f"{node.name} is not well" for node in nodes if not _is_well(node, reading)]
        if not unwell and isinstance(self.database, Machines) and not self.database.whole():
            return ["the database has not one leader and two standbys"]
        return unwell

    def leader(self) -> Node | None:
        """Returns the machine that leads, where there are several."""
        return self.nodes.get(self.database.leader() or "") if isinstance(self.database, Machines) else None

    def scale(self, workers: int) -> None:
        staying = self.staying
        for worker in staying[workers:]:
            worker.leaves = True
            worker.thaw()
            worker.end()
        for _ in range(min(workers, MAX_WORKERS) - len(staying)):
            self._numbers += 1
            self._add_worker(f"worker-{self._numbers}")
        self._write_targets()

    def discover(self, but: Node | None = None) -> None:
        """Tells Prometheus of all schedulers and workers, but of that one."""
        self._undiscovered = but
        self._write_targets()

    def tell(self) -> None:
        """Tells what has ended and should not have, and forgets who has left; to be called again and again."""
        for worker in [worker for worker in self.workers if worker.leaves and not worker.alive]:
            del self.nodes[worker.name]
        while self.ended:
            ended = self.ended.pop(0)
            status = "" if ended.status is None else f" with status {ended.status}"
            self._say(f"{ended.name} has ended{status}")

    def _launch(self, exits: ExitStack) -> None:
        haproxy = found_program("haproxy")
        if haproxy is None:
            raise ClusterError("haproxy is not installed (Debian: apt install haproxy)")
        self.database = self._add_machines(exits, haproxy) if self._options.patroni else self._add_server(exits)
        exits.enter_context(self.pager)
        exits.callback(lambda: _end(self.services))
        exits.callback(lambda: _end(self.workers))  # first, so that they can release their leases
        schedulers = dict(map(self._make_scheduler, range(1, self._options.schedulers + 1)))
        self._add_balancer(haproxy, schedulers)
        self._add_prometheus()
        for scheduler, probes in schedulers.items():
            self._add(scheduler, "scheduler", probes)
        self.scale(self._options.workers)
        self.readings = Readings(lambda: _probes(self.services), self.prometheus_port)
        exits.enter_context(self.readings.going_on())
        self._keep_up(exits)

    def _add_server(self, exits: ExitStack) -> Database:
        connections = self._options.schedulers * 30 + 20  # what each has at most, and some to spare
        return self._add_database(exits, "database", connections)

    def _add_machines(self, exits: ExitStack, haproxy: str) -> Machines:
        machines = Machines(self.folder, exits, one_address=self._options.patroni == "haproxy")
        machines.start()
        for machine in machines.all:
            self._add(machine, "database")
        if machines.one_address:
            self._add_program("database-balancer", haproxy, "-db", "-f", str(HAPROXY))
        return machines

    def _make_scheduler(self, number: int) -> tuple[Scheduler, int]:
        probes = free_port()
        scheduler = self.scheduler(
            f"scheduler-{number}",
            lease_ttl=self._options.lease,
            database_url=self.database.url,
            CONTENTGEN_METRICS_LISTEN=f"127.0.0.1:{probes}",
            CONTENTGEN_MAX_WORKER_LOSSES=WORKER_LOSSES,
        )
        return scheduler, probes

    def _add_worker(self, name: str) -> None:
        probes = free_port()
        worker = self.quick_worker(
            name,
            self.target,
            slots=self._options.slots,
            CONTENTGEN_METRICS_LISTEN=f"127.0.0.1:{probes}",
        )
        self._add(worker, "worker", probes, self._disk(worker.folder, 16 << 20))

    def _add_balancer(self, haproxy: str, schedulers: Mapping[Scheduler, int]) -> None:
        settings, metrics = self.folder / "haproxy.cfg", free_port()
        plain = [f"server {scheduler.name} {scheduler.target} proto h2" for scheduler in schedulers]
        checked = [
            f"{server} check port {probes} check-proto h1"
            for server, probes in zip(plain, schedulers.values(), strict=True)
        ]
        ready, every = "\n  ".join(checked), "\n  ".join(plain)
        settings.write_text(
            _HAPROXY.format(target=self.target, settings=HAPROXY_SETTINGS, metrics=metrics, ready=ready, all=every)
        )
        readings.write_targets(self.folder, "balancer", [("balancer", metrics)])
        self._add_program("balancer", haproxy, "-db", "-f", str(settings))

    def _add_prometheus(self) -> None:
        program, alertmanager = found_program("prometheus"), found_program("prometheus-alertmanager")
        if program is None or alertmanager is None:
            self._say("no alerts: not installed (Debian: apt install prometheus prometheus-alertmanager)")
            return
        self.prometheus_port, port = free_port(), free_port()
        expected = {"scheduler": self._options.schedulers, "worker": self._options.workers, "console": 0}
        self._add_program(
            "alertmanager",
            alertmanager,
            f"--config.file={readings.write_routes(self.folder, self.pager)}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        )
        self._add_program(
            "prometheus",
            program,
            f"--config.file={readings.write_settings(self.folder, port, expected)}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
        )

    def _add_program(self, name: str, *command: str) -> None:
        self._add(Process(name, command, self.folder / f"{name}.log", inherited()), name)

    def _write_targets(self) -> None:
        """Writes them for Prometheus, and for a shell, which then finds this checkout's commands first."""
        for kind, nodes in (("scheduler", self.schedulers), ("worker", self.staying)):
            discovered = [node for node in nodes if node is not self._undiscovered]
            readings.write_targets(self.folder, kind, _probes(discovered).items())
        values = {
            "CONTENTGEN_SCHEDULER": self.target,
            "DATABASE_URL": self.database.url.replace("postgresql+psycopg2", "postgresql"),
        }
        if self.prometheus_port:
            values["PROMETHEUS"] = f"http://127.0.0.1:{self.prometheus_port}"
        for scheduler in self._schedulers:
            values[_variable(scheduler.name)] = scheduler.target
        for node in (*self.schedulers, *self.workers):
            values[f"{_variable(node.name)}_METRICS"] = f"127.0.0.1:{node.probes}"
            values[f"{_variable(node.name)}_DATA"] = str(self.folder / node.name)
        lines = [
            f"# For a shell in which commands of docs/runbooks are typed: `. {self.surroundings}`",
            f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        ]
        new = self.surroundings.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
        new.replace(self.surroundings)


def _probes(nodes: Sequence[Node]) -> dict[str, int]:
    return {node.name: node.probes for node in nodes if node.probes is not None}


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


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


def _end(nodes: Sequence[Node]) -> None:
    """Sends TERM, which drains, TERM again, which stops, and KILL last, four seconds after one another."""

    def living() -> list[Node]:
        return [node for node in nodes if node.alive]

    for node in living():
        if node.frozen:
            node.thaw()
    for _ in range(2):
        for node in living():
            node.end()
        deadline = time.monotonic() + 4.0
        while living() and time.monotonic() < deadline:
            time.sleep(0.05)
    for node in living():
        node.kill()
