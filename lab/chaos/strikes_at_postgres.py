"""Faults of PostgreSQL, and of everything at once. Above `scene`."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil
import psycopg2

from lab.chaos.database import signal_all, title_of
from lab.chaos.evidence import DISK_FULL, FREEZE, KILL, ROW_LOCK, TABLE_LOCK
from lab.chaos.fleet import Fleet
from lab.chaos.plan import POSTGRES, Fault
from lab.chaos.scene import MissedError, Scene, Strike
from lab.chaos.strikes_at_services import freeze_as_one, kill_as_one
from scheduler_svc.database.connections import AdvisoryLock
from tests.harness.processes import belonging_to

Processes = Sequence[psutil.Process]


def _kill(selector: Callable[[Processes, random.Random], Iterable[psutil.Process]]) -> Strike:
    """Kill -9 to those of PostgreSQL's processes that are chosen."""

    @contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        chance = random.Random(fault.salt)
        victims = list(selector(scene.fleet.database.processes(), chance))
        if not victims:
            raise MissedError
        scene.note(fault, KILL, POSTGRES, processes=len(victims))
        signal_all(victims, signal.SIGKILL)
        yield
        scene.fleet.database.restart_if_gone()

    return strike


def _backend(processes: Processes, chance: random.Random) -> Processes:
    """One that serves a scheduler."""
    serving = [process for process in processes[1:] if "contentgen contentgen" in title_of(process)]
    return [chance.choice(serving)] if serving else []


@contextmanager
def _postmaster_freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    with _frozen(scene, fault, tree=False):
        yield


@contextmanager
def _tree_freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    with _frozen(scene, fault, tree=True):
        yield


@contextmanager
def _frozen(scene: Scene, fault: Fault, *, tree: bool) -> Iterator[None]:
    scene.note(fault, FREEZE, POSTGRES)
    if not scene.fleet.database.freeze(tree=tree):
        raise MissedError
    yield
    scene.fleet.database.thaw()


@contextmanager
def _terminate(scene: Scene, fault: Fault) -> Iterator[None]:
    scene.note(fault, "terminate", POSTGRES)
    try:
        scene.fleet.database.terminate_backends(random.Random(fault.salt))
    except psycopg2.Error as error:
        raise MissedError from error
    yield


@contextmanager
def _no_connections(scene: Scene, fault: Fault) -> Iterator[None]:
    scene.note(fault, "no_connections", POSTGRES)
    try:
        connections = scene.fleet.database.hold_connections()
    except psycopg2.Error as error:
        raise MissedError from error
    yield
    for connection in connections:
        connection.close()


def _row_locks(most_tables: int) -> Strike:
    """Some rows of one table, or of several: what is locked leaves others of its kind free."""

    @contextmanager
    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        chance = random.Random(fault.salt)
        tables = chance.sample(sorted(_SOME_ROWS), chance.randint(min(2, most_tables), most_tables))
        with _locked(scene, fault, ROW_LOCK, tables, [_SOME_ROWS[table] for table in tables]):
            yield

    return strike


@contextmanager
def _table_lock(scene: Scene, fault: Fault) -> Iterator[None]:
    table = random.Random(fault.salt).choice(sorted(_SOME_ROWS))
    with _locked(scene, fault, TABLE_LOCK, [table], [f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"]):
        yield


@contextmanager
def _locked(scene: Scene, fault: Fault, kind: str, tables: Sequence[str], statements: Sequence[str]) -> Iterator[None]:
    with _another_session(scene, statements):
        scene.note(fault, kind, POSTGRES, tables=",".join(tables))
        yield


@contextmanager
def _open_transaction(scene: Scene, fault: Fault) -> Iterator[None]:
    """It holds back everybody's snapshots, without a lock on anything of ours."""
    with _another_session(scene, ["SELECT txid_current()"], database="postgres"):
        scene.note(fault, "open_transaction", POSTGRES)
        yield


@contextmanager
def _dispatch_lock(scene: Scene, fault: Fault) -> Iterator[None]:
    with _another_session(scene, [f"SELECT pg_advisory_lock({AdvisoryLock.DISPATCH.key})"]):
        scene.note(fault, "dispatch_lock", POSTGRES)
        yield


@contextmanager
def _another_session(scene: Scene, statements: Sequence[str], database: str = "contentgen") -> Iterator[None]:
    """A transaction of another session, which idles once it has run these."""
    try:
        holder = scene.fleet.database.lock(statements, database)
    except psycopg2.Error as error:
        raise MissedError from error
    yield
    holder.close()


_SOME = "SELECT FROM {table} WHERE {key} IN (SELECT {key} FROM {table} ORDER BY random() LIMIT {rows}) FOR UPDATE"
_SOME_ROWS: Mapping[str, str] = {
    **{
        table: _SOME.format(table=table, key="task_key", rows=3)
        for table in ("tasks", "ready", "delayed", "leases", "task_payloads")
    },
    "shares": _SOME.format(table="shares", key="account_id", rows=1),
    "accounts": _SOME.format(table="accounts", key="account_id", rows=1),
    "workers": _SOME.format(table="workers", key="worker_id", rows=2),
    "contents": _SOME.format(table="contents", key="content_id", rows=3),
    "publish_pool": _SOME.format(table="publish_pool", key="content_id", rows=3),
    "task_counts": "SELECT FROM task_counts FOR UPDATE",
    "reaper": "SELECT FROM reaper FOR UPDATE",
}
"""By table: what locks some of its rows, those of one account or two workers at most."""


@contextmanager
def _disk_full(scene: Scene, fault: Fault) -> Iterator[None]:
    disk = scene.fleet.postgres_disk
    assert disk is not None, "the plan has such faults only where there are disks"
    scene.note(fault, DISK_FULL, POSTGRES)
    disk.fill()
    if fault.salt % 2:
        with contextlib.suppress(psycopg2.Error):
            scene.fleet.database.want_space()
    yield
    disk.empty()
    scene.fleet.database.restart_if_gone()


@contextmanager
def _everything_kill(scene: Scene, fault: Fault) -> Iterator[None]:
    """Schedulers, workers, guards, CLIs and PostgreSQL, within milliseconds."""
    fleet = scene.fleet
    processes = belonging_to(fleet.folder)
    scene.note(fault, KILL, *_everybody(fleet))
    kill_as_one(processes, lambda: belonging_to(fleet.folder))
    yield
    fleet.database.restart_if_gone()
    for member in fleet.members.values():
        member.launch()


@contextmanager
def _everything_freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    """As if the machine had been suspended."""
    fleet = scene.fleet
    scene.note(fault, FREEZE, *_everybody(fleet))
    freeze_as_one(lambda: belonging_to(fleet.folder))
    yield
    signal_all(belonging_to(fleet.folder), signal.SIGCONT)


def _everybody(fleet: Fleet) -> Iterator[str]:
    yield from fleet.members
    yield from (f"{name}/guard" for name in fleet.shape.worker_names)
    yield POSTGRES


STRIKES: Mapping[str, Strike] = {
    "backend-terminate": _terminate,
    "backend-kill": _kill(_backend),
    "postmaster-kill": _kill(lambda processes, _: processes[:1]),
    "postgres-kill": _kill(lambda processes, _: processes),
    "postmaster-freeze": _postmaster_freeze,
    "postgres-freeze": _tree_freeze,
    "no-connections": _no_connections,
    "postgres-disk-full": _disk_full,
    "row-locks": _row_locks(1),
    "many-row-locks": _row_locks(4),
    "table-lock": _table_lock,
    "open-transaction": _open_transaction,
    "dispatch-lock": _dispatch_lock,
    "everything-kill": _everything_kill,
    "everything-freeze": _everything_freeze,
}
