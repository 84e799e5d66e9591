"""Logs why a scheduler ended a stream with a status, so that an operator knows what to do.

Layer: inside session, used by scheduler_connection.
"""

from __future__ import annotations

from contextlib import suppress

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from structlog.typing import FilteringBoundLogger

_DETAILS = "grpc-status-details-bin"

_log: FilteringBoundLogger = structlog.get_logger()


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """Returns the `google.rpc.ErrorInfo` of a status; an empty one if it is missing or malformed."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            with suppress(DecodeError):
                return _found(value)
    return error_details_pb2.ErrorInfo()


def _found(packed: bytes) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(packed).details:
        if detail.type_url.endswith("/google.rpc.ErrorInfo"):
            detail.Unpack(info)
    return info


def log_refusal(error: grpc.aio.AioRpcError) -> None:
    """Logs what a status means for this worker, which dials again in any case."""
    info = error_info(error)
    facts = {"code": error.code().name, "details": (error.details() or "")[:500]}
    if info.reason == "WORKER_ID_IN_USE":
        _log.error(
            "another process has this worker id; give each worker its own CONTENTGEN_WORKER_ID or data folder",
            action="session.worker_id_in_use",
            hostname=info.metadata.get("hostname", ""),
            **facts,
        )
    elif error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        _log.error(
            "the scheduler refuses CONTENTGEN_TOKEN", action="session.token_refused", reason=info.reason, **facts
        )
    elif error.code() is grpc.StatusCode.UNAVAILABLE:
        _log.warning("no scheduler answers", action="session.unavailable", reason=info.reason, **facts)
    else:
        _log.error("the scheduler ended the stream", action="session.ended", reason=info.reason, **facts)
