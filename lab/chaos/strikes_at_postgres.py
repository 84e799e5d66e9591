"""Faults of PostgreSQL, and of everything at once."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence

import psutil
import psycopg2

from lab.chaos.evidence import DISK_FULL, FREEZE, KILL, ROW_LOCK, TABLE_LOCK
from lab.chaos.fleet import Fleet
from lab.chaos.plan import POSTGRES, Fault
from lab.chaos.strikes_at_services import MissedError, Scene, Strike, freeze_as_one, kill_as_one
from scheduler_svc.database.connections import AdvisoryLock
from tests.harness.database_faults import title_of
from tests.harness.processes import belonging_to, freeze, signal_all, thaw

Processes = Sequence[psutil.Process]


def _kill(selector: Callable[[Processes, random.Random], Processes]) -> Strike:

    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        victims = selector(scene.database.processes(), random.Random(fault.salt))
        if not victims:
            raise MissedError
        scene.note(fault, KILL, processes=len(victims))
        signal_all(victims, signal.SIGKILL)
        yield
        scene.database.launch()

    return strike


def _backend(processes: Processes, chance: random.Random) -> Processes:
    serving = [process for process in processes[1:] if "contentgen contentgen" in title_of(process)]
    return [chance.choice(serving)] if serving else []


def _freeze(most: int | None) -> Strike:
    """Sends SIGSTOP to the first so many of PostgreSQL's processes; None: to all."""

    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        scene.note(fault, FREEZE)
        if not freeze(scene.database.processes()[:most]):
            raise MissedError
        yield
        scene.database.thaw()

    return strike


def _terminate(scene: Scene, fault: Fault) -> Iterator[None]:
    scene.note(fault, "terminate")
    scene.database.terminate_backends(random.Random(fault.salt))
    yield


def _no_connections(scene: Scene, fault: Fault) -> Iterator[None]:
    scene.note(fault, "no_connections")
    connections = scene.database.hold_connections()
    yield
    for connection in connections:
        connection.close()


def _row_locks(most_tables: int) -> Strike:
    """Locks some rows of one table, or of several: what is locked leaves others of its kind free."""

    def strike(scene: Scene, fault: Fault) -> Iterator[None]:
        chance = random.Random(fault.salt)
        tables = chance.sample(sorted(_SOME_ROWS), chance.randint(min(2, most_tables), most_tables))
        statements = [_SOME_ROWS[table] for table in tables]
        yield from _another_session(scene, fault, ROW_LOCK, statements, tables=",".join(tables))

    return strike


def _table_lock(scene: Scene, fault: Fault) -> Iterator[None]:
    table = random.Random(fault.salt).choice(sorted(_SOME_ROWS))
    statements = [f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"]
    yield from _another_session(scene, fault, TABLE_LOCK, statements, tables=table)


def _open_transaction(scene: Scene, fault: Fault) -> Iterator[None]:
    """It holds back everybody's snapshots, without a lock on anything of ours."""
    return _another_session(scene, fault, "open_transaction", ["SELECT txid_current()"], database="postgres")


def _dispatch_lock(scene: Scene, fault: Fault) -> Iterator[None]:
    statements = [f"SELECT pg_advisory_lock({AdvisoryLock.DISPATCH.key})"]
    return _another_session(scene, fault, "dispatch_lock", statements)


def _another_session(
    scene: Scene, fault: Fault, does: str, statements: Sequence[str], *, tables: str = "", database: str = "contentgen"
) -> Iterator[None]:
    """Opens a transaction of another session, which idles once it has run these."""
    holder = scene.database.lock(statements, database)
    scene.note(fault, does, tables=tables)
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


def _disk_full(scene: Scene, fault: Fault) -> Iterator[None]:
    disk = scene.fleet.nodes[POSTGRES].disk
    assert disk is not None, "the plan has such faults only where there are disks"
    scene.note(fault, DISK_FULL)
    disk.fill()
    if fault.salt % 2:
        with contextlib.suppress(psycopg2.Error):
            scene.database.want_space()
    yield
    disk.empty()
    scene.database.launch()


def _everything_kill(scene: Scene, fault: Fault) -> Iterator[None]:
    processes = belonging_to(scene.fleet.folder)
    scene.note(fault, KILL, *_everybody(scene.fleet))
    kill_as_one(processes, lambda: belonging_to(scene.fleet.folder))
    yield
    for node in scene.fleet.nodes.values():
        node.launch()


def _everything_freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    """Freezes all, as if the machine had been suspended."""
    scene.note(fault, FREEZE, *_everybody(scene.fleet))
    freeze_as_one(lambda: belonging_to(scene.fleet.folder))
    yield
    thaw(belonging_to(scene.fleet.folder))


def _everybody(fleet: Fleet) -> list[str]:
    return [*fleet.nodes, *(f"{worker.name}/guard" for worker in fleet.of("worker"))]


STRIKES: Mapping[str, Strike] = {
    "backend-terminate": _terminate,
    "backend-kill": _kill(_backend),
    "postmaster-kill": _kill(lambda processes, _: processes[:1]),
    "postgres-kill": _kill(lambda processes, _: processes),
    "postmaster-freeze": _freeze(1),
    "postgres-freeze": _freeze(None),
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
