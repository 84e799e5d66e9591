"""TERM before a service is ready: it ends in time with status 0 and a line, whatever it does at that moment."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from tests.harness.ports import free_port
from tests.harness.process import Process, inherited, installed
from tests.harness.stack import DEMO_CREATOR
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.usefixtures("by_command")

WITHIN = 120.0
PATIENT = {"CONTENTGEN_HEARTBEAT_INTERVAL": "60s", "CONTENTGEN_LEASE_TTL": "600s", "CONTENTGEN_LOCK_TIMEOUT": "15s"}
"""So that a statement still waits when it is looked for."""
MIGRATION_LOCK = "SELECT pg_advisory_lock(x'636f6e74656e7467'::bigint)"
SERVICES = ("contentgen-scheduler", "contentgen-worker", "contentgen-console")


@contextmanager
def starting(command: str, folder: Path, **settings: str) -> Iterator[Process]:
    """The service, launched with any free ports."""
    own = {
        "CONTENTGEN_DATA_DIR": str(folder),
        "CONTENTGEN_LISTEN": "127.0.0.1:0",
        "CONTENTGEN_CONSOLE_LISTEN": "127.0.0.1:0",
        "CONTENTGEN_SCHEDULER": f"127.0.0.1:{free_port()}",
        "CREATOR_CLI_PATH": str(DEMO_CREATOR),
    }
    with Process(command, [installed(command)], folder / "log", {**inherited(), **own, **settings}) as process:
        yield process


def ended_early(process: Process) -> None:
    process.stop()
    assert process.text().endswith(f"{process.name}: ended by SIGTERM before it was ready\n")


def caught(process: Process) -> bool:
    """Whether it has a handler of TERM."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) & 1 << (signal.SIGTERM - 1))


@pytest.mark.parametrize("command", SERVICES)
def test_a_service_has_its_handlers_before_it_imports_what_takes_long(command: str, tmp_path: Path) -> None:
    """These packages never end their imports. The scheduler may write its line twice: a thread of it does so too."""
    for package in ("grpc", "structlog"):  # the worker's guard starts between them
        (tmp_path / f"{package}.py").write_text("import time\nwhile True:\n    time.sleep(0.1)\n")
    with starting(command, tmp_path, PYTHONPATH=str(tmp_path)) as process:
        wait_until(lambda: caught(process), within=WITHIN, what="it has a handler")
        process.stop()
        assert set(process.text().splitlines()) == {f"{command}: ended by SIGTERM before it was ready"}


def test_a_worker_whose_guard_is_there_ends(tmp_path: Path) -> None:
    with starting("contentgen-worker", tmp_path) as process:
        process.wait_for("guard.ready", within=WITHIN)
        process.stop()


def test_a_scheduler_ends_while_it_waits_for_a_database_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        with starting("contentgen-scheduler", tmp_path, DATABASE_URL=address) as process:
            silent.settimeout(WITHIN)
            with silent.accept()[0]:
                ended_early(process)


@contextmanager
def locked(url: str, lock: str) -> Iterator[Callable[[], bool]]:
    """A session that holds a lock; yields whether another one waits for it."""
    holder, looker = psycopg2.connect(url), psycopg2.connect(url)
    looker.autocommit = True

    def waited_for() -> bool:
        with looker.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))", [holder.info.backend_pid]
            )
            return cursor.fetchone() is not None

    try:
        holder.cursor().execute(lock)
        yield waited_for
    finally:
        holder.close()
        looker.close()


def test_a_scheduler_ends_while_another_one_migrates(tmp_path: Path, empty_db_url: str) -> None:
    address = empty_db_url.replace("+psycopg2", "")
    with locked(address, MIGRATION_LOCK), starting("contentgen-scheduler", tmp_path, DATABASE_URL=address) as process:
        process.wait_for("migrate", within=WITHIN)
        ended_early(process)


@pytest.mark.parametrize("table", ["alembic_version", "webhooks"])
def test_a_scheduler_ends_while_a_statement_of_its_start_waits(tmp_path: Path, db_url: str, table: str) -> None:
    """Of the one table before, of the other within the event loop."""
    address = db_url.replace("+psycopg2", "")
    with (
        locked(address, f"LOCK TABLE {table}") as waited_for,
        starting("contentgen-scheduler", tmp_path, DATABASE_URL=address, **PATIENT) as process,
    ):
        wait_until(waited_for, within=WITHIN, what="a statement waits")
        ended_early(process)
