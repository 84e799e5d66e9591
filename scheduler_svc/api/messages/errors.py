"""The one table from domain errors to gRPC statuses with `google.rpc` details. Part of `api`.

Details travel in the trailers, of which a client takes 8 KiB by default, so everything in them is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from scheduler_svc.api.messages.times import duration
from scheduler_svc.domain import errors as domain

DOMAIN = "contentgen"
_MESSAGE_BYTES = 512
_METADATA_BYTES = 256
_VIOLATIONS_BYTES = 4_000


@dataclass(frozen=True, slots=True)
class Answer:
    """How a domain error is told: a google.rpc.Code, the reason of ErrorInfo, when to try again (seconds)."""

    code: int
    reason: str
    retry_after: float | None = None


TABLE: Mapping[type[domain.DomainError], Answer] = {
    domain.InvalidArgument: Answer(Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    domain.NotFound: Answer(Code.NOT_FOUND, "RESOURCE_NOT_FOUND"),
    domain.InvalidState: Answer(Code.FAILED_PRECONDITION, "INVALID_STATE"),
    domain.AccountInactive: Answer(Code.FAILED_PRECONDITION, "ACCOUNT_INACTIVE"),
    domain.RetriesExhausted: Answer(Code.FAILED_PRECONDITION, "RETRIES_EXHAUSTED"),
    domain.RequestIdConflict: Answer(Code.ALREADY_EXISTS, "REQUEST_ID_CONFLICT"),
    domain.TokenInvalid: Answer(Code.UNAUTHENTICATED, "TOKEN_INVALID"),
    domain.RoleForbidden: Answer(Code.PERMISSION_DENIED, "ROLE_FORBIDDEN"),
    domain.AccountForbidden: Answer(Code.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN"),
    domain.WorkerIdInUse: Answer(Code.ALREADY_EXISTS, "WORKER_ID_IN_USE"),
    domain.SessionReplaced: Answer(Code.ABORTED, "SESSION_REPLACED"),
    domain.QueueFull: Answer(Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=5),
    domain.AccountQueueFull: Answer(Code.RESOURCE_EXHAUSTED, "ACCOUNT_QUEUE_FULL", retry_after=5),
    domain.ResumeTokenExpired: Answer(Code.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"),
    domain.WatcherTooSlow: Answer(Code.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW"),
    domain.TooManyWatchers: Answer(Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", retry_after=5),
    domain.TooManyCalls: Answer(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", retry_after=1),
    domain.WaitedTooLong: Answer(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", retry_after=1),
    domain.RequestTooSlow: Answer(Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_SLOW"),
    domain.StoreUnavailable: Answer(Code.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after=1),
    domain.LockTimeout: Answer(Code.UNAVAILABLE, "LOCK_TIMEOUT", retry_after=1),
    domain.StatementTimeout: Answer(Code.UNAVAILABLE, "STATEMENT_TIMEOUT", retry_after=5),
    domain.ShuttingDown: Answer(Code.UNAVAILABLE, "SHUTTING_DOWN", retry_after=1),
}

INTERNAL = Answer(Code.INTERNAL, "INTERNAL")


def no_message() -> domain.InvalidArgument:
    """For a call that ends before its message. Made anew each time: an error that is raised again grows tracebacks."""
    return domain.InvalidArgument([domain.FieldViolation("", "the call must carry one message, and has none")])


def undecodable() -> domain.InvalidArgument:
    """For bytes that are no message; made anew each time, too."""
    return domain.InvalidArgument([domain.FieldViolation("", "the bytes are no message of this RPC's request type")])


def status_of(error: domain.DomainError) -> Status:
    """The status that tells a caller of `error`, with its details."""
    answer = TABLE[type(error)]
    details: list[Message] = [_error_info(answer, error.metadata)]
    if isinstance(error, domain.InvalidArgument):
        details.append(_bad_request(error.violations))
    if answer.code == Code.FAILED_PRECONDITION:
        violation = PreconditionFailure.Violation(type=answer.reason, description=_cut(error.message, _METADATA_BYTES))
        details.append(PreconditionFailure(violations=[violation]))
    if answer.retry_after is not None:
        details.append(RetryInfo(retry_delay=duration(timedelta(seconds=answer.retry_after))))
    return _status(answer, error.message, details)


def internal_status() -> Status:
    """For a defect of ours: it says nothing of what went wrong, the log does."""
    return _status(INTERNAL, "internal error; the scheduler's log has the details", [_error_info(INTERNAL, {})])


def _status(answer: Answer, message: str, details: list[Message]) -> Status:
    status = Status(code=answer.code, message=_cut(message, _MESSAGE_BYTES))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _error_info(answer: Answer, metadata: Mapping[str, str]) -> ErrorInfo:
    shown = {key: _cut(value, _METADATA_BYTES) for key, value in metadata.items()}
    return ErrorInfo(reason=answer.reason, domain=DOMAIN, metadata=shown)


def _bad_request(violations: tuple[domain.FieldViolation, ...]) -> BadRequest:
    """As many violations as fit; the last one then counts the others."""
    named = BadRequest()
    held = 0
    for i, violation in enumerate(violations):
        entry = BadRequest.FieldViolation(field=violation.field, description=violation.description)
        held += entry.ByteSize() + 3
        if held > _VIOLATIONS_BYTES:
            named.field_violations.add(field="…", description=f"and {len(violations) - i:,} more")
            break
        named.field_violations.append(entry)
    return named


def _cut(text: str, most: int) -> str:
    """`text`, or as much of it as fits into `most` bytes of UTF-8."""
    data = text.encode()
    return text if len(data) <= most else data[: most - 3].decode(errors="ignore") + "…"
