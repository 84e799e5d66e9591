"""The address of metrics and probes, with clients that send slowly, too much, or nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter

from contentgen.service import metrics_endpoint
from contentgen.service.metrics_endpoint import MetricsEndpoint
from contentgen.service.values import Address
from tests.harness.scrape import Scrape, get
from tests.harness.waiting import wait_until

PATIENCE_S = 60.0


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Iterator[MetricsEndpoint]:
    registry = CollectorRegistry()
    Counter("served", "Served.", registry=registry).inc()
    timeout = getattr(request, "param", 600.0)
    served = MetricsEndpoint(
        Address("127.0.0.1", 0), registry, live=list, ready=lambda: ["not yet"], request_timeout=timeout
    )
    yield served
    served.stop()


def connected(port: int, sent: bytes) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    peer.sendall(sent)
    return peer


def is_closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(1_000) == b""
    except ConnectionError:
        return True


def test_slow_requests_keep_nobody_from_an_answer(endpoint: MetricsEndpoint) -> None:
    with ExitStack() as peers:
        for _ in range(20):
            peers.enter_context(connected(endpoint.port, b"GET /livez HT"))
        assert get(endpoint.port, "/livez") == (200, "ok\n")
        assert get(endpoint.port, "/readyz") == (503, "not yet\n")
        assert Scrape(endpoint.port)("served_total") == 1


def test_a_flood_of_connections_ends_the_oldest(endpoint: MetricsEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "MAX_CONNECTIONS", 3)
    with ExitStack() as peers:
        silent = [peers.enter_context(connected(endpoint.port, b"")) for _ in range(5)]
        assert get(endpoint.port, "/livez") == (200, "ok\n")
        assert is_closed(silent[0])


@pytest.mark.parametrize("endpoint", [0.5], indirect=True)
def test_a_request_has_a_deadline_as_a_whole(endpoint: MetricsEndpoint) -> None:
    with connected(endpoint.port, b"GET /livez HTTP/1.1\r\n") as peer:

        def ends() -> bool:
            try:
                peer.sendall(b"X-More: 1\r\n")
            except ConnectionError:
                return True
            return False

        wait_until(ends, within=PATIENCE_S, what="a request that never ends is cut off")


def test_an_endless_head_is_cut_off(endpoint: MetricsEndpoint) -> None:
    with connected(endpoint.port, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 2 * metrics_endpoint.MAX_HEAD) as peer:
        assert is_closed(peer)


def test_what_is_no_request_is_refused(endpoint: MetricsEndpoint) -> None:
    for sent in (b"\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n"):
        with connected(endpoint.port, sent) as peer:
            assert peer.recv(1_000).startswith((b"HTTP/1.1 405 ", b"HTTP/1.1 404 "))
