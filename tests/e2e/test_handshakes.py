"""With TLS: the log has JSON lines only, and each failed handshake is an event that names its caller."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scheduler_svc.api.server.handshakes import MAX_LOGGED
from tests.harness.cluster import Databases
from tests.harness.process import Process
from tests.harness.stack import Scheduler, Stack, running_stack
from tests.harness.waiting import wait_until

WITHIN = 30.0
Connect = Callable[[Scheduler, Path], str]


def started(stack: Stack, certificates: Path) -> Scheduler:
    """By its command: a variable of gRPC is set before its import."""
    scheduler = stack.scheduler(
        CONTENTGEN_TLS_CERT=str(certificates / "server.pem"),
        CONTENTGEN_TLS_KEY=str(certificates / "server.key"),
        CONTENTGEN_TLS_CLIENT_CA=str(certificates / "ca.pem"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "by_fork", False)
        return scheduler.start()


@pytest.fixture(scope="module")
def scheduler(databases: Databases, template: str, certificates: Path) -> Iterator[Scheduler]:
    """For fewer failures than it logs within its window."""
    with databases.lent(template) as url, running_stack(url) as stack:
        yield started(stack, certificates)


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


def assert_json_only(scheduler: Scheduler) -> None:
    lines = scheduler.log.read_text().splitlines()
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize(
    ("connect", "reason", "level"),
    [
        (plaintext, "HTTP_REQUEST", "warning"),
        (hang_up, "Handshake read failed (Socket closed)", "info"),
        (certificate_of_nobody, "CERTIFICATE_VERIFY_FAILED: self signed certificate", "warning"),
        (no_certificate, "PEER_DID_NOT_RETURN_A_CERTIFICATE", "warning"),
    ],
)
def test_a_failed_handshake_is_an_event(
    scheduler: Scheduler, certificates: Path, connect: Connect, reason: str, level: str
) -> None:
    caller = connect(scheduler, certificates)
    (event,) = wait_until(lambda: failures(scheduler, caller), within=WITHIN, what="the failure is told")
    assert (event["reason"], event["level"]) == (reason, level)
    assert_json_only(scheduler)


def failures(scheduler: Scheduler, caller: str) -> list[dict[str, Any]]:
    return [event for event in scheduler.events("handshake") if event["caller"] == caller]


def test_a_flood_of_them_is_counted(stack: Stack, certificates: Path) -> None:
    scheduler, number = started(stack, certificates), 4 * MAX_LOGGED
    for _ in range(number):
        plaintext(scheduler, certificates)

    def accounted() -> bool:
        events = scheduler.events("handshake")
        return sum(int(event.get("suppressed", 1)) for event in events) == number

    wait_until(accounted, within=WITHIN, what="each of them is told or counted")
    assert len(scheduler.events("handshake")) < number
    assert_json_only(scheduler)
