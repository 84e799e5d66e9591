"""Domain errors as gRPC statuses with `google.rpc` details.

Details are sent in the trailers, which a client limits to 8 KiB by default, so their size is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from scheduler_svc.domain import errors
from scheduler_svc.runtime.validation import duration

DOMAIN = "contentgen"
_MAX_MESSAGE_BYTES = 512
_MAX_METADATA_BYTES = 256
_MAX_VIOLATIONS_BYTES = 4_000
INTERNAL = "INTERNAL"
"""Status and reason of a defect."""


def missing_message() -> errors.InvalidArgument:
    """Returns a new error each time, as of `undecodable_message`: one that is raised again collects tracebacks."""
    return errors.InvalidArgument.of("", "the call must have one message, and has none")


def undecodable_message() -> errors.InvalidArgument:
    return errors.InvalidArgument.of("", "the bytes are not a message of this RPC's request type")


def status_of(error: errors.DomainError) -> Status:
    details: list[Message] = [_error_info(error.reason, error.metadata)]
    if isinstance(error, errors.InvalidArgument):
        details.append(_bad_request(error.violations))
    if error.code == "FAILED_PRECONDITION":
        description = _cut(error.message, _MAX_METADATA_BYTES)
        violation = PreconditionFailure.Violation(type=error.reason, description=description)
        details.append(PreconditionFailure(violations=[violation]))
    if error.retry_after is not None:
        details.append(RetryInfo(retry_delay=duration(timedelta(seconds=error.retry_after))))
    return _status(error.code, error.message, details)


def internal_status() -> Status:
    """Returns the status of a defect; only the log describes it."""
    return _status(INTERNAL, "internal error; the scheduler's log has the details", [_error_info(INTERNAL, {})])


def _status(code: str, message: str, details: list[Message]) -> Status:
    status = Status(code=Code.Value(code), message=_cut(message, _MAX_MESSAGE_BYTES))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _error_info(reason: str, metadata: Mapping[str, str]) -> ErrorInfo:
    shown = {key: _cut(value, _MAX_METADATA_BYTES) for key, value in metadata.items()}
    return ErrorInfo(reason=reason, domain=DOMAIN, metadata=shown)


def _bad_request(violations: tuple[errors.FieldViolation, ...]) -> BadRequest:
    """Returns as many violations as fit; the last entry counts the others."""
    request = BadRequest()
    size = 0
    for i, violation in enumerate(violations):
        entry = BadRequest.FieldViolation(field=violation.field, description=violation.description)
        size += entry.ByteSize() + 3
        if size > _MAX_VIOLATIONS_BYTES:
            request.field_violations.add(field="…", description=f"and {len(violations) - i:,} more")
            break
        request.field_violations.append(entry)
    return request


def _cut(text: str, limit: int) -> str:
    """Returns as much of `text` as fits into `limit` bytes of UTF-8."""
    data = text.encode()
    return text if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "…"
