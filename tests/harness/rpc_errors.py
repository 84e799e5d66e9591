"""How a call failed: its code, its ErrorInfo and its other details."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio


@dataclass(slots=True)
class Refusal:
    """Filled in when the call has failed."""

    message: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    retry_after: float | None = None
    preconditions: list[str] = field(default_factory=list)


@contextmanager
def refused(code: grpc.StatusCode, reason: str = "") -> Iterator[Refusal]:
    """Expects the block's call to fail with `code`, and with `reason` if given."""
    refusal = Refusal()
    with pytest.raises(aio.AioRpcError) as raised:
        yield refusal
    assert raised.value.code() == code, raised.value.details()
    refusal.message = raised.value.details() or ""
    _read_details(raised.value, refusal)
    assert refusal.reason == reason


def _read_details(error: aio.AioRpcError, refusal: Refusal) -> None:
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if packed is None:
        return
    assert isinstance(packed, bytes)
    status = Status.FromString(packed)
    assert status.message == refusal.message
    assert status.code == error.code().value[0]
    for detail in status.details:
        info, bad, retry, failure = ErrorInfo(), BadRequest(), RetryInfo(), PreconditionFailure()
        if detail.Unpack(info):
            assert info.domain == "contentgen"
            refusal.reason, refusal.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            refusal.fields = [violation.field for violation in bad.field_violations]
        elif detail.Unpack(retry):
            refusal.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(failure):
            refusal.preconditions = [violation.type for violation in failure.violations]
