"""Domain errors as gRPC statuses with `google.rpc` details: the one table of them.

Details are sent in the trailers, which a client limits to 8 KiB by default, so their size is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """A google.rpc.Code, the reason in ErrorInfo, and the delay in RetryInfo in seconds."""

    code: int
    reason: str
    retry_after: float | None = None


ERROR_STATUSES: Mapping[type[errors.DomainError], ErrorStatus] = {
    errors.InvalidArgument: ErrorStatus(Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    errors.NotFound: ErrorStatus(Code.NOT_FOUND, "RESOURCE_NOT_FOUND"),
    errors.InvalidState: ErrorStatus(Code.FAILED_PRECONDITION, "INVALID_STATE"),
    errors.EtagMismatch: ErrorStatus(Code.ABORTED, "ETAG_MISMATCH"),
    errors.AccountInactive: ErrorStatus(Code.FAILED_PRECONDITION, "ACCOUNT_INACTIVE"),
    errors.RetriesExhausted: ErrorStatus(Code.FAILED_PRECONDITION, "RETRIES_EXHAUSTED"),
    errors.UniqueKeyInUse: ErrorStatus(Code.FAILED_PRECONDITION, "UNIQUE_KEY_IN_USE"),
    errors.RequestIdConflict: ErrorStatus(Code.ALREADY_EXISTS, "REQUEST_ID_CONFLICT"),
    errors.ResourceExists: ErrorStatus(Code.ALREADY_EXISTS, "RESOURCE_EXISTS"),
    errors.TokenInvalid: ErrorStatus(Code.UNAUTHENTICATED, "TOKEN_INVALID"),
    errors.RoleForbidden: ErrorStatus(Code.PERMISSION_DENIED, "ROLE_FORBIDDEN"),
    errors.AccountForbidden: ErrorStatus(Code.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN"),
    errors.DelegationForbidden: ErrorStatus(Code.PERMISSION_DENIED, "DELEGATION_FORBIDDEN"),
    errors.WorkerIdInUse: ErrorStatus(Code.ALREADY_EXISTS, "WORKER_ID_IN_USE"),
    errors.SessionReplaced: ErrorStatus(Code.ABORTED, "SESSION_REPLACED"),
    errors.QueueFull: ErrorStatus(Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=5),
    errors.AccountQueueFull: ErrorStatus(Code.RESOURCE_EXHAUSTED, "ACCOUNT_QUEUE_FULL", retry_after=5),
    errors.TooManySelectors: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_SELECTORS", retry_after=60),
    errors.TooManySchedules: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_SCHEDULES"),
    errors.TooManyReviews: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_REVIEWS"),
    errors.TooManyComments: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_COMMENTS"),
    errors.TooManyWebhooks: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_WEBHOOKS"),
    errors.TooManyChannels: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CHANNELS"),
    errors.ResumeTokenExpired: ErrorStatus(Code.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"),
    errors.WatcherTooSlow: ErrorStatus(Code.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW"),
    errors.WatchOverrun: ErrorStatus(Code.RESOURCE_EXHAUSTED, "WATCH_OVERRUN", retry_after=1),
    errors.TooManyWatchers: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", retry_after=5),
    errors.TooManyCalls: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", retry_after=1),
    errors.WaitedTooLong: ErrorStatus(Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", retry_after=1),
    errors.RequestTooSlow: ErrorStatus(Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_SLOW"),
    errors.StoreUnavailable: ErrorStatus(Code.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after=1),
    errors.ChangesDelayed: ErrorStatus(Code.UNAVAILABLE, "CHANGES_DELAYED", retry_after=5),
    errors.LockTimeout: ErrorStatus(Code.UNAVAILABLE, "LOCK_TIMEOUT", retry_after=1),
    errors.StatementTimeout: ErrorStatus(Code.UNAVAILABLE, "STATEMENT_TIMEOUT", retry_after=5),
    errors.AssetStoreUnavailable: ErrorStatus(Code.UNAVAILABLE, "ASSET_STORE_UNAVAILABLE", retry_after=5),
    errors.AccountAssetsFull: ErrorStatus(Code.INVALID_ARGUMENT, "ACCOUNT_ASSETS_FULL"),
    errors.LeaseLost: ErrorStatus(Code.FAILED_PRECONDITION, "LEASE_LOST"),
    errors.UnderMaintenance: ErrorStatus(Code.UNAVAILABLE, "MAINTENANCE"),
    errors.ShuttingDown: ErrorStatus(Code.UNAVAILABLE, "SHUTTING_DOWN", retry_after=1),
}

INTERNAL = ErrorStatus(Code.INTERNAL, "INTERNAL")


def missing_message() -> errors.InvalidArgument:
    """Returns a new error each time, as of `undecodable_message`: one that is raised again collects tracebacks."""
    return errors.InvalidArgument.of("", "the call must have one message, and has none")


def undecodable_message() -> errors.InvalidArgument:
    return errors.InvalidArgument.of("", "the bytes are not a message of this RPC's request type")


def status_of(error: errors.DomainError) -> Status:
    row = ERROR_STATUSES[type(error)]
    details: list[Message] = [_error_info(row, error.metadata)]
    if isinstance(error, errors.InvalidArgument):
        details.append(_bad_request(error.violations))
    if row.code == Code.FAILED_PRECONDITION:
        violation = PreconditionFailure.Violation(type=row.reason, description=_cut(error.message, _MAX_METADATA_BYTES))
        details.append(PreconditionFailure(violations=[violation]))
    retry_after = row.retry_after if error.retry_after is None else error.retry_after
    if retry_after is not None:
        details.append(RetryInfo(retry_delay=duration(timedelta(seconds=retry_after))))
    return _status(row, error.message, details)


def internal_status() -> Status:
    """Returns the status of a defect; only the log describes it."""
    return _status(INTERNAL, "internal error; the scheduler's log has the details", [_error_info(INTERNAL, {})])


def _status(row: ErrorStatus, message: str, details: list[Message]) -> Status:
    status = Status(code=row.code, message=_cut(message, _MAX_MESSAGE_BYTES))
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _error_info(row: ErrorStatus, metadata: Mapping[str, str]) -> ErrorInfo:
    shown = {key: _cut(value, _MAX_METADATA_BYTES) for key, value in metadata.items()}
    return ErrorInfo(reason=row.reason, domain=DOMAIN, metadata=shown)


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
