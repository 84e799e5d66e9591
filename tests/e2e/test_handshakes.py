"""With TLS: the log has JSON lines only, and each failed handshake is an event that names its caller."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from scheduler_svc.runtime.tls import MAX_LOGGED
from tests.harness.certificates import make_certificates
from tests.harness.stack import Scheduler, Stack
from tests.harness.waiting import wait_until

WITHIN = 30.0
pytestmark = pytest.mark.usefixtures("by_command")  # a variable of gRPC is set before its import
Connect = Callable[[Scheduler, Path], str]


@pytest.fixture
def scheduler(stack: Stack) -> Scheduler:
    make_certificates(stack.folder)
    return stack.scheduler(
        CONTENTGEN_TLS_CERT=str(stack.folder / "server.pem"),
        CONTENTGEN_TLS_KEY=str(stack.folder / "server.key"),
        CONTENTGEN_TLS_CLIENT_CA=str(stack.folder / "ca.pem"),
    ).start()


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
    stack: Stack, scheduler: Scheduler, connect: Connect, reason: str, level: str
) -> None:
    caller = connect(scheduler, stack.folder)
    event = scheduler.wait_for("handshake", within=WITHIN)
    assert (event["caller"], event["reason"], event["level"]) == (caller, reason, level)
    assert_json_only(scheduler)


def test_a_flood_of_them_is_counted(stack: Stack, scheduler: Scheduler) -> None:
    number = 4 * MAX_LOGGED
    for _ in range(number):
        plaintext(scheduler, stack.folder)

    def accounted() -> bool:
        events = scheduler.events("handshake")
        return sum(int(event.get("suppressed", 1)) for event in events) == number

    wait_until(accounted, within=WITHIN, what="each of them is told or counted")
    assert len(scheduler.events("handshake")) < number
    assert_json_only(scheduler)
