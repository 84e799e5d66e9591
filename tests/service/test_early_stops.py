"""TERM before a service is ready, services as process 1, and handshakes that fail."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from scheduler_svc.runtime.tls import MAX_LOGGED
from tests.harness.credentials import make_certificates
from tests.harness.database_faults import foreign_lock, locked_table
from tests.harness.process import Process, inherited, installed, program, run_to_end
from tests.harness.processes import children, free_port
from tests.harness.scheduling import sql
from tests.harness.stack import DEMO_CREATOR, Scheduler, Stack
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("by_command")]


# TERM before a service is ready: it ends in time with status 0 and a line, whatever it does at that moment.


WITHIN = 120.0
EARLY = "ended by SIGTERM before it was ready"
PATIENT = {"CONTENTGEN_HEARTBEAT_INTERVAL": "60s", "CONTENTGEN_LEASE_TTL": "600s", "CONTENTGEN_LOCK_TIMEOUT": "15s"}
"""So that a statement still waits when it is looked for."""
MIGRATION_LOCK = "SELECT pg_advisory_lock(x'636f6e74656e7467'::bigint)"
SERVICES = ("contentgen-scheduler", "contentgen-worker", "contentgen-console")


@contextmanager
def starting(command: str, folder: Path, *, within: Sequence[str] = (), **settings: str) -> Iterator[Process]:
    """The service, launched with any free ports, by the command `within` if that is given."""
    own = {
        "CONTENTGEN_DATA_DIR": str(folder),
        "CONTENTGEN_LISTEN": "127.0.0.1:0",
        "CONTENTGEN_CONSOLE_LISTEN": "127.0.0.1:0",
        "CONTENTGEN_SCHEDULER": f"127.0.0.1:{free_port()}",
        "CREATOR_CLI_PATH": str(DEMO_CREATOR),
    }
    with Process(command, [*within, installed(command)], folder / "log", {**inherited(), **own, **settings}) as process:
        yield process


def ended_early(process: Process, service: psutil.Process | None = None) -> None:
    """`service`: what gets TERM, if it is not the process itself."""
    (service or process.popen).send_signal(signal.SIGTERM)
    process.ended()
    assert (said(process)["program"], said(process)["event"]) == (process.name, EARLY)


def said(process: Process) -> dict[str, str]:
    """The last event of its log, in which each line is one."""
    *_, last = (json.loads(line) for line in process.text().splitlines())
    return dict(last)


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
        assert {json.loads(line)["event"] for line in process.text().splitlines()} == {EARLY}


@pytest.mark.parametrize("command", SERVICES)
def test_a_service_that_crashes_or_lacks_a_module_says_so_as_an_event(command: str, tmp_path: Path) -> None:
    faults = {
        "raise RuntimeError('one\\nand two')": (1, "crash", "RuntimeError: one"),
        "import no_such_module": (78, "start.failed", "the module no_such_module is missing: pip install 'contentgen-"),
    }
    for fault, (status, action, text) in faults.items():
        (tmp_path / "structlog.py").write_text(fault)
        with starting(command, tmp_path, PYTHONPATH=str(tmp_path)) as process:
            process.ended(status=status)
            event = said(process)
        assert (event["action"], event["program"], event["level"]) == (action, command, "critical")
        assert event["event"].startswith(text)
        assert ("Traceback" in event.get("exception", "")) == (action == "crash")


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


@pytest.mark.parametrize("table", ["alembic_version", "webhooks"])
def test_a_scheduler_ends_while_a_statement_of_its_start_waits(
    tmp_path: Path, db_url: str, engine: sa.Engine, table: str
) -> None:
    """Of the one table before, of the other within the event loop."""
    waiting = "SELECT FROM pg_stat_activity WHERE :holder = ANY(pg_blocking_pids(pid))"
    with (
        locked_table(db_url, table) as holder,
        starting("contentgen-scheduler", tmp_path, DATABASE_URL=db_url, **PATIENT) as process,
    ):
        wait_until(lambda: sql(engine, waiting, holder=holder), within=WITHIN, what="a statement waits")
        ended_early(process)


# As process 1 of a PID namespace, as in a container without an init. Such a process has no default of TERM.


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a PID namespace")


def namespace() -> list[str]:
    return [program("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc"]


def process_one(process: Process) -> psutil.Process:
    """The service; `process` is outside of its namespace, and waits for it."""
    return wait_until(lambda: children(process.pid), within=WITHIN, what="its first process is there")[0]


@only_root
@pytest.mark.costly("services in a namespace of their own, by their commands", seconds=2)
def test_a_worker_reaps_orphans_that_are_not_its_clis(tmp_path: Path) -> None:
    with starting("contentgen-worker", tmp_path, within=namespace()) as process:
        process.wait_for("guard.ready", within=WITHIN)
        service = process_one(process)
        inside = [program("nsenter"), "--target", service.pid, "--pid"]
        run_to_end([*inside, "sh", "-c", "sleep 0.1 & sleep 0.2 & exec true"], within=WITHIN)
        wait_until(lambda: len(children(service.pid)) == 1, within=WITHIN, what="only the guard is left")
        assert "guard" in children(service.pid)[0].name()
        service.send_signal(signal.SIGTERM)
        process.ended()


@pytest.mark.parametrize(
    "is_process_one", [pytest.param(False, id="a child"), pytest.param(True, marks=only_root, id="process 1")]
)
def test_a_scheduler_ends_while_another_one_migrates(tmp_path: Path, empty_db_url: str, is_process_one: bool) -> None:
    within = namespace() if is_process_one else []
    with (
        foreign_lock(empty_db_url, MIGRATION_LOCK),
        starting("contentgen-scheduler", tmp_path, within=within, DATABASE_URL=empty_db_url) as process,
    ):
        process.wait_for("migrate", within=WITHIN)
        ended_early(process, process_one(process) if is_process_one else None)


# With TLS: the log has JSON lines only, and each failed handshake is an event that names its caller.


def dialled(scheduler: Scheduler) -> socket.socket:
    return socket.create_connection(("127.0.0.1", scheduler.port), timeout=10)


def address_of(connection: socket.socket) -> str:
    host, port = connection.getsockname()
    return f"{host}:{port}"


def plaintext(scheduler: Scheduler, _folder: Path) -> str:
    with dialled(scheduler) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(100)
        return address_of(connection)


def hang_up(scheduler: Scheduler, _folder: Path) -> str:
    with dialled(scheduler) as connection:
        return address_of(connection)


def certificate_of_nobody(scheduler: Scheduler, folder: Path) -> str:
    return _shown(scheduler, folder, "other")


def no_certificate(scheduler: Scheduler, folder: Path) -> str:
    return _shown(scheduler, folder, "")


def _shown(scheduler: Scheduler, folder: Path, own: str) -> str:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.set_alpn_protocols(["h2"])
    if own:
        context.load_cert_chain(folder / f"{own}.pem", folder / f"{own}.key")
    with dialled(scheduler) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        address = address_of(connection)
        with suppress(OSError):  # an alert, or a reset
            assert connection.recv(100) == b"", "it was let in"
        return address


FAILURES = [
    (plaintext, "HTTP_REQUEST", "warning"),
    (hang_up, "Handshake read failed (Socket closed)", "info"),
    (certificate_of_nobody, "CERTIFICATE_VERIFY_FAILED: self signed certificate", "warning"),
    (no_certificate, "PEER_DID_NOT_RETURN_A_CERTIFICATE", "warning"),
]


def test_failed_handshakes_are_events_and_a_flood_of_them_is_counted(stack: Stack) -> None:
    make_certificates(stack.folder)
    scheduler = stack.scheduler(
        CONTENTGEN_TLS_CERT=str(stack.folder / "server.pem"),
        CONTENTGEN_TLS_KEY=str(stack.folder / "server.key"),
        CONTENTGEN_TLS_CLIENT_CA=str(stack.folder / "ca.pem"),
    ).start()

    def are_counted(number: int) -> bool:
        return sum(int(event.get("suppressed", 1)) for event in scheduler.events("handshake")) == number

    for number, (connect, reason, level) in enumerate(FAILURES, start=1):
        caller = connect(scheduler, stack.folder)
        wait_until(partial(are_counted, number), within=WITHIN, what=f"{reason} is told")
        event = scheduler.events("handshake")[-1]
        assert (event["caller"], event["reason"], event["level"]) == (caller, reason, level)
    flood = 4 * MAX_LOGGED
    for _ in range(flood):
        plaintext(scheduler, stack.folder)
    wait_until(partial(are_counted, len(FAILURES) + flood), within=WITHIN, what="each of them is told or counted")
    assert len(scheduler.events("handshake")) < flood
    lines = scheduler.log.read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
