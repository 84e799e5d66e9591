"""What is read from gRPC core's trace of handshakes."""

from __future__ import annotations

import pytest

from scheduler_svc.api.server.handshakes import MAX_TOLD, WINDOW, Failure, Failures, Limit

BEGIN = "I1127 08:12:05.889937    5744 handshaker.cc:155] CallNextHandshakerLocked: "
SSL = (
    "UNKNOWN: Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
)
END = (
    " shutdown=false index=2, args={endpoint=0x7f, args={grpc.internal.endpoint_peer_address=%s, grpc.x=1}, read_buffer"
)


def read(*lines: str) -> list[Failure]:
    failures = Failures()
    return [found for line in lines if (found := failures.next(line))]


@pytest.mark.parametrize(
    ("error", "address", "failure"),
    [
        (
            f"{SSL}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "ipv4:127.0.0.1:53172",
            Failure("127.0.0.1:53172", "CERTIFICATE_VERIFY_FAILED: self signed certificate", hung_up=False),
        ),
        (
            f"{SSL}HTTP_REQUEST: Invalid certificate verification context: OK",
            "ipv6:%5B::1%5D:9",
            Failure("[::1]:9", "HTTP_REQUEST", hung_up=False),
        ),
        (
            "UNAVAILABLE: Handshake read failed (Socket closed)",
            "ipv4:10.0.0.1:1",
            Failure("10.0.0.1:1", "Handshake read failed (Socket closed)", hung_up=True),
        ),
    ],
)
def test_an_error_and_the_address_below_it_are_a_failure(error: str, address: str, failure: Failure) -> None:
    assert read(f"{BEGIN}error={error}", "=== Source Location Trace: ===", "src/core/x.cc:1", END % address) == [
        failure
    ]


def test_a_handshake_that_goes_well_is_none() -> None:
    good = f"{BEGIN}error=OK shutdown=false index=1, args={{grpc.internal.endpoint_peer_address=ipv4:127.0.0.1:1, x=1}}"
    assert read(good, END % "ipv4:127.0.0.1:2", "anything else") == []


def test_a_few_failures_of_a_window_are_logged_and_the_others_counted() -> None:
    limit = Limit()
    assert limit.over(0.0) == 0
    assert [limit.admits() for _ in range(MAX_TOLD + 3)] == [True] * MAX_TOLD + [False] * 3
    assert limit.over(WINDOW - 0.1) == 0
    assert limit.over(WINDOW) == 3
    assert limit.admits()
