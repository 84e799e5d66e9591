"""What can be done to workers, guards, machines and disks, to schedulers, wires and PostgreSQL, and to all at once."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2

from lab.chaos import evidence
from lab.chaos.evidence import DISK_FULL, FREEZE, KILL, ROW_LOCK, TABLE_LOCK, Appender
from lab.chaos.fleet import EVERYTHING, POSTGRES, Fleet
from lab.deployment.database import Database
from lab.deployment.deployment import Node
from scheduler_svc.database.connections import AdvisoryLock
from tests.harness.database_faults import title_of
from tests.harness.processes import belonging_to, freeze, living, signal_all, thaw
from tests.harness.waiting import wait_until, wait_until_gone
from tests.harness.wires import Trouble

WORKER, SCHEDULER = "worker", "scheduler"
_EXIT_LIMIT = 30.0
"""Seconds in which a service has to end that was told to, or a worker without its guard, on a busy machine."""


class MissedError(Exception):
    """The victim is not there to be hurt: it has not come back from something else."""


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    """Seconds after the begin."""
    kind: str
    victim: str
    duration: float
    salt: int
    """For what the fault itself has to choose, such as a backend."""


@dataclass(frozen=True, slots=True)
class Scene:
    fleet: Fleet
    journal: Appender

    @property
    def database(self) -> Database:
        return self.fleet.database

    def node(self, fault: Fault) -> Node:
        """Returns the victim, which runs. Raises MissedError."""
        node = self.fleet.nodes[fault.victim]
        if not node.alive:
            raise MissedError
        return node

    def guard(self, fault: Fault) -> psutil.Process:
        """Returns the victim's guard; both run. Raises MissedError."""
        guard = self.node(fault).guard()
        if guard is None:
            raise MissedError
        return guard

    def place(self, fault: Fault) -> tuple[Path, list[Node]]:
        """Returns folder and nodes of the victim's machine, which runs, or of everything. Raises MissedError."""
        if fault.victim == EVERYTHING:
            return self.fleet.folder, [*self.fleet.nodes.values()]
        return self.fleet.folder / fault.victim, [self.node(fault)]

    def note(self, fault: Fault, does: str, *victims: str, tables: str = "", **more: object) -> None:
        """Journals that `does` is being done to each of `victims`, or to the fault's victim, as part of `fault`."""
        for victim in victims or (fault.victim,):
            now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
            record = evidence.Fault(does, victim, now, boottime, fault.duration, fault.kind, fault.at, tables)
            self.journal.append(record, **more)


Strike = Callable[[Scene, Fault], Iterator[None]]
"""Hurts, yields, and undoes it. Raises MissedError."""


def kill(scene: Scene, fault: Fault) -> Iterator[None]:
    """The guard of a worker lives on, ends its CLIs, and goes."""
    node = scene.node(fault)
    scene.note(fault, KILL)
    node.kill()
    yield
    node.launch()


def stop(scene: Scene, fault: Fault) -> Iterator[None]:
    """Sends TERM to what has come up: before that it ends it as it ends any process.

    A worker may drain until the fault is over. A second TERM then does not wait for what runs.
    """
    node = scene.node(fault)
    if not node.served:
        raise MissedError
    scene.note(fault, "stop")
    node.end()
    if node.kind == SCHEDULER:
        _ended_well(node)
    yield
    if node.kind == WORKER:
        node.end()
        _ended_well(node)
    node.launch()


def _ended_well(node: Node) -> None:
    """Raises AssertionError where it did not end as it should; then it is killed."""
    try:
        _await_end(node, "after TERM")
    finally:
        node.kill()
    status = node.service.exit_status
    assert status == 0, f"{node.name} ended with status {status} after TERM"


def _await_end(node: Node, how: str) -> None:
    wait_until(lambda: not node.alive, within=_EXIT_LIMIT, what=f"{node.name} ends {how}")


def kill_guard(scene: Scene, fault: Fault) -> Iterator[None]:
    node, guard = scene.node(fault), scene.guard(fault)
    scene.note(fault, KILL, f"{fault.victim}/guard")
    signal_all([guard], signal.SIGKILL)
    _await_end(node, "without its guard")
    yield
    node.launch()


def kill_at_once(scene: Scene, fault: Fault) -> Iterator[None]:
    """Kills all of a machine, or everything. They stop first: where the power goes, nobody sees another one die."""
    folder, nodes = scene.place(fault)
    processes = belonging_to(folder)
    scene.note(fault, KILL, *_with_guards(nodes))
    while processes:
        freeze(processes)
        signal_all(processes, signal.SIGKILL)
        processes = belonging_to(folder)
    for node in nodes:
        node.kill()
    yield
    for node in nodes:
        node.launch()


def _with_guards(nodes: Sequence[Node]) -> list[str]:
    return [*(node.name for node in nodes), *(f"{node.name}/guard" for node in nodes if node.kind == "worker")]


def freeze_node(scene: Scene, fault: Fault) -> Iterator[None]:
    node = scene.node(fault)
    scene.note(fault, FREEZE)
    node.freeze()
    yield
    node.thaw()


def freeze_guard(scene: Scene, fault: Fault) -> Iterator[None]:
    """Where a run's deadline passes meanwhile, the worker gives its guard up, and ends by itself."""
    node, guard = scene.node(fault), scene.guard(fault)
    scene.note(fault, FREEZE, f"{fault.victim}/guard")
    freeze([guard])
    yield
    thaw([guard])
    with contextlib.suppress(AssertionError):
        # It may just have been a moment too late.
        wait_until_gone(lambda: living([guard]), within=1.5, what="its worker has killed it")
    if not living([guard]):
        _await_end(node, "without its guard")
        node.launch()


def freeze_at_once(scene: Scene, fault: Fault) -> Iterator[None]:
    """Freezes all of a machine, or everything, as if it had been suspended, and what they start until it reached them.

    Of a machine the guard wakes up first, as where there is more than one core: it decides what still may run.
    """
    folder, nodes = scene.place(fault)
    guards = [] if fault.victim == EVERYTHING else [scene.guard(fault)]
    scene.note(fault, FREEZE, *_with_guards(nodes))
    while processes := [process for process in belonging_to(folder) if _goes_on(process)]:
        freeze(processes)
    yield
    if guards:
        thaw(guards)
        time.sleep(0.1)  # the guard wakes first
    thaw(belonging_to(folder))


def _goes_on(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def jump_clock(scene: Scene, fault: Fault) -> Iterator[None]:
    """Jumps forth or back: by what is only said, what ends its service, and what makes ids of another day."""
    scene.node(fault)
    clock = scene.fleet.clocks[fault.victim]
    seconds = (7, 40, 7_200, 259_200)[fault.salt % 4] * (1 if fault.salt % 8 < 4 else -1)
    scene.note(fault, "clock_jump", seconds=seconds)
    clock.set(seconds)
    yield
    clock.set(0)


def fill_disk(scene: Scene, fault: Fault) -> Iterator[None]:
    """A worker may be alive or on its way up. Half of the time PostgreSQL wants space for WAL, too."""
    node = scene.fleet.nodes[fault.victim]
    assert node.disk is not None, "the plan has such faults only where there are disks"
    scene.note(fault, DISK_FULL)
    node.disk.fill()
    if fault.victim == POSTGRES and fault.salt % 2:
        with contextlib.suppress(psycopg2.Error):
            scene.database.want_space()
    yield
    node.disk.empty()
    if fault.victim == POSTGRES:
        scene.database.launch()


def wire(scene: Scene, fault: Fault) -> Iterator[None]:
    """Makes the trouble of the fault's name on all wires between a victim and the side that it begins with."""
    end, _, trouble = fault.kind.partition("-")
    names = f"{fault.victim}/" if end == WORKER else f"{end}/{fault.victim}"
    scene.note(fault, trouble, names)
    scene.fleet.wires.hurt(names, Trouble(trouble), 0.3 if end == WORKER else 0.1)
    yield
    scene.fleet.wires.mend(names)


# Of PostgreSQL.


def kill_servers(most: int | None) -> Strike:
    """Sends SIGKILL to the first so many of PostgreSQL's processes; None: to all."""
    return lambda scene, fault: _killed(scene, fault, scene.database.processes()[:most])


def kill_backend(scene: Scene, fault: Fault) -> Iterator[None]:
    backends = [server for server in scene.database.processes()[1:] if "contentgen contentgen" in title_of(server)]
    return _killed(scene, fault, [random.Random(fault.salt).choice(backends)] if backends else [])


def _killed(scene: Scene, fault: Fault, servers: Sequence[psutil.Process]) -> Iterator[None]:
    if not servers:
        raise MissedError
    scene.note(fault, KILL, processes=len(servers))
    signal_all(servers, signal.SIGKILL)
    yield
    scene.database.launch()


def freeze_servers(most: int | None) -> Strike:
    """Sends SIGSTOP to as many."""

    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        scene.note(fault, FREEZE)
        if not freeze(scene.database.processes()[:most]):
            raise MissedError
        yield
        scene.database.thaw()

    return strike


def terminate(scene: Scene, fault: Fault) -> Iterator[None]:
    scene.note(fault, "terminate")
    scene.database.terminate_backends(random.Random(fault.salt))
    yield


def no_connections(scene: Scene, fault: Fault) -> Iterator[None]:
    scene.note(fault, "no_connections")
    connections = scene.database.hold_connections()
    yield
    for connection in connections:
        connection.close()


def row_locks(most_tables: int) -> Strike:
    """Locks some rows of one table, or of several: what is locked leaves others of its kind free."""

    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        chance = random.Random(fault.salt)
        tables = chance.sample(sorted(_SOME_ROWS), chance.randint(min(2, most_tables), most_tables))
        statements = [_SOME_ROWS[table] for table in tables]
        yield from _held(scene, fault, ROW_LOCK, statements, tables=",".join(tables))

    return strike


def table_lock(scene: Scene, fault: Fault) -> Iterator[None]:
    table = random.Random(fault.salt).choice(sorted(_SOME_ROWS))
    return _held(scene, fault, TABLE_LOCK, [f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"], tables=table)


def open_transaction(scene: Scene, fault: Fault) -> Iterator[None]:
    """It holds back everybody's snapshots, without a lock on anything of ours."""
    return _held(scene, fault, "open_transaction", ["SELECT txid_current()"], database="postgres")


def dispatch_lock(scene: Scene, fault: Fault) -> Iterator[None]:
    return _held(scene, fault, "dispatch_lock", [f"SELECT pg_advisory_lock({AdvisoryLock.DISPATCH.key})"])


def _held(
    scene: Scene, fault: Fault, does: str, statements: Sequence[str], *, tables: str = "", database: str = "contentgen"
) -> Iterator[None]:
    """Opens a transaction of another session, which idles once it has run these."""
    holder = scene.database.lock(statements, database)
    scene.note(fault, does, tables=tables)
    yield
    holder.close()


_SOME_ROWS: Mapping[str, str] = {
    table: f"SELECT FROM {table} WHERE {key} IN (SELECT {key} FROM {table} ORDER BY random() LIMIT {rows}) FOR UPDATE"
    for key, rows, tables in (
        ("task_key", 3, ("tasks", "ready", "delayed", "leases", "task_payloads")),
        ("account_id", 1, ("shares", "accounts")),
        ("worker_id", 2, ("workers",)),
        ("content_id", 3, ("contents", "publish_pool")),
    )
    for table in tables
} | {table: f"SELECT FROM {table} FOR UPDATE" for table in ("task_counts", "reaper")}
"""By table: what locks some of its rows, those of one account or two workers at most."""


# All that can be done.


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    weight: float
    """How often it is chosen, beside the others."""
    group: str
    """Who may be its victim: `worker`, `scheduler`, `postgres`, `everything`."""
    shortest: float
    longest: float
    """Seconds that it lasts: until what was killed is started again, what was frozen thaws, what was full is empty."""
    strike: Strike
    does: str
    needs_disks: bool = False


KINDS = (
    Kind("worker-kill", 34, WORKER, 0.1, 1.5, kill, "kill -9 to a worker, which is started again soon"),
    Kind("worker-loss", 10, WORKER, 6.0, 9.0, kill, "kill -9 to a worker, which stays away for longer than a lease"),
    Kind("guard-kill", 14, WORKER, 0.1, 1.5, kill_guard, "kill -9 to a worker's guard; the worker ends by itself"),
    Kind("machine-kill", 6, WORKER, 0.5, 8.0, kill_at_once,
        "kill -9 to worker, guard, CLIs and all their descendants at once"),
    Kind("worker-freeze", 5, WORKER, 0.5, 9.0, freeze_node, "SIGSTOP to a worker, SIGCONT later"),
    Kind("guard-freeze", 3, WORKER, 0.3, 6.0, freeze_guard, "SIGSTOP to a guard, SIGCONT later"),
    Kind("machine-freeze", 3, WORKER, 0.5, 9.0, freeze_at_once, "SIGSTOP to worker, guard and all CLIs, SIGCONT later"),
    Kind("worker-stop", 3, WORKER, 0.0, 6.0, stop, "TERM to a worker and, if it still drains then, TERM again"),
    Kind("worker-disk-full", 2, WORKER, 1.0, 5.0, fill_disk, "no space for spool, marks and scratch", needs_disks=True),
    Kind("worker-cut", 4, WORKER, 0.0, 5.0, wire, "a worker's connections are reset, and new ones too"),
    Kind("worker-hole", 3, WORKER, 1.0, 9.0, wire, "a worker's bytes vanish in both directions, half-open"),
    Kind("worker-deaf", 2, WORKER, 1.0, 9.0, wire, "a worker is heard and hears nothing"),
    Kind("worker-slow", 2, WORKER, 2.0, 8.0, wire, "each piece of a worker's traffic comes 0.3 s late"),
    Kind("client-cut", 1.5, SCHEDULER, 0.0, 2.0, wire, "clients' connections to a scheduler are reset"),
    Kind("client-hole", 1, SCHEDULER, 0.5, 4.0, wire, "clients' bytes to a scheduler and back vanish"),
    Kind("scheduler-kill", 4, SCHEDULER, 0.1, 3.0, kill, "kill -9 to a scheduler"),
    Kind("scheduler-stop", 1, SCHEDULER, 0.1, 2.0, stop, "TERM to a scheduler, which drains"),
    Kind("scheduler-freeze", 1, SCHEDULER, 0.5, 4.0, freeze_node, "SIGSTOP to a scheduler, SIGCONT later"),
    Kind("scheduler-stall", 1, SCHEDULER, 6.0, 9.0, freeze_node, "a scheduler stands still for longer than a lease"),
    Kind("store-cut", 1, SCHEDULER, 0.0, 3.0, wire, "a scheduler's connections to PostgreSQL are reset"),
    Kind("store-hole", 1, SCHEDULER, 0.5, 6.0, wire, "a scheduler's bytes to PostgreSQL and back vanish"),
    Kind("store-slow", 1, SCHEDULER, 1.0, 5.0, wire, "each piece between a scheduler and PostgreSQL comes 0.1 s late"),
    Kind("backend-terminate", 2, POSTGRES, 0.0, 0.0, terminate,
        "pg_terminate_backend of one in three backends, or of all"),
    Kind("backend-kill", 1, POSTGRES, 0.0, 0.0, kill_backend,
        "kill -9 to a backend: PostgreSQL throws all out and recovers"),
    Kind("postmaster-kill", 0.7, POSTGRES, 0.1, 2.0, kill_servers(1), "kill -9 to the postmaster"),
    Kind("postgres-kill", 0.7, POSTGRES, 0.1, 2.0, kill_servers(None), "kill -9 to the whole tree of PostgreSQL"),
    Kind("postmaster-freeze", 0.4, POSTGRES, 0.5, 4.0, freeze_servers(1),
        "SIGSTOP to the postmaster: no new connections"),
    Kind("postgres-freeze", 0.6, POSTGRES, 0.5, 7.0, freeze_servers(None), "SIGSTOP to the whole tree of PostgreSQL"),
    Kind("no-connections", 0.7, POSTGRES, 1.0, 5.0, no_connections, "others hold all connections that PostgreSQL has"),
    Kind("postgres-disk-full", 0.5, POSTGRES, 1.5, 6.0, fill_disk,
        "no space for PostgreSQL's tables and, half of the time, WAL", needs_disks=True),
    Kind("row-locks", 2, POSTGRES, 3.0, 9.0, row_locks(1),
        "another session's transaction locks some rows of one table, and idles"),
    Kind("many-row-locks", 1, POSTGRES, 3.0, 9.0, row_locks(4), "the same of several tables at once"),
    Kind("table-lock", 0.7, POSTGRES, 1.0, 7.0, table_lock,
        "another session's transaction locks a whole table, and idles"),
    Kind("open-transaction", 2, POSTGRES, 3.0, 14.0, open_transaction,
        "a session of another database leaves a transaction open"),
    Kind("dispatch-lock", 2, POSTGRES, 3.0, 14.0, dispatch_lock,
        "another session holds the lock under which tasks are claimed"),
    Kind("clock-jump", 2, SCHEDULER, 2.0, 12.0, jump_clock, "a scheduler's clock is off by seconds, hours or days"),
    Kind("everything-kill", 0.5, EVERYTHING, 0.1, 2.0, kill_at_once, "kill -9 to every process of all at once"),
    Kind("everything-freeze", 0.3, EVERYTHING, 0.5, 9.0, freeze_at_once,
        "SIGSTOP to every process of all, SIGCONT later"),
)  # fmt: skip
"""All kinds. Their weights make about one fault in ten one of PostgreSQL or a scheduler."""
