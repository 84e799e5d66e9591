"""Failures found in gRPC core's trace of handshakes."""

from __future__ import annotations

import pytest

from scheduler_svc.runtime.tls import LOG_WINDOW, MAX_LOGGED, HandshakeFailure, HandshakeFailureParser, LogLimit

BEGIN = "I1127 08:12:05.889937    5744 handshaker.cc:155] CallNextHandshakerLocked: "
SSL = (
    "UNKNOWN: Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
)
END = (
    " shutdown=false index=2, args={endpoint=0x7f, args={grpc.internal.endpoint_peer_address=%s, grpc.x=1}, read_buffer"
)


def read(*lines: str) -> list[HandshakeFailure]:
    failures = HandshakeFailureParser()
    return [failure for line in lines if (failure := failures.next(line))]


@pytest.mark.parametrize(
    ("error", "address", "failure"),
    [
        (
            f"{SSL}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "ipv4:127.0.0.1:53172",
            HandshakeFailure("127.0.0.1:53172", "CERTIFICATE_VERIFY_FAILED: self signed certificate", hung_up=False),
        ),
        (
            f"{SSL}HTTP_REQUEST: Invalid certificate verification context: OK",
            "ipv6:%5B::1%5D:9",
            HandshakeFailure("[::1]:9", "HTTP_REQUEST", hung_up=False),
        ),
        (
            "UNAVAILABLE: Handshake read failed (Socket closed)",
            "ipv4:10.0.0.1:1",
            HandshakeFailure("10.0.0.1:1", "Handshake read failed (Socket closed)", hung_up=True),
        ),
    ],
)
def test_an_error_and_its_address_make_a_failure(error: str, address: str, failure: HandshakeFailure) -> None:
    assert read(f"{BEGIN}error={error}", "=== Source Location Trace: ===", "src/core/x.cc:1", END % address) == [
        failure
    ]


def test_a_successful_handshake_is_no_failure() -> None:
    good = f"{BEGIN}error=OK shutdown=false index=1, args={{grpc.internal.endpoint_peer_address=ipv4:127.0.0.1:1, x=1}}"
    assert read(good, END % "ipv4:127.0.0.1:2", "anything else") == []


def test_failures_above_the_limit_of_a_window_are_counted() -> None:
    limit = LogLimit()
    assert limit.next_window(0.0) == 0
    assert [limit.allows() for _ in range(MAX_LOGGED + 3)] == [True] * MAX_LOGGED + [False] * 3
    assert limit.next_window(LOG_WINDOW - 0.1) == 0
    assert limit.next_window(LOG_WINDOW) == 3
    assert limit.allows()
