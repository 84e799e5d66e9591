"""The client's exceptions, and how a failed call or a failed task becomes one. Layer: client.

No method of the client raises an exception of gRPC: it is the `__cause__` of the client's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from contentgen.client.results import Task
from contentgen.client.target import Target
from contentgen.client.unanswered import described
from contentgen.v1 import task_pb2

__all__ = [
    "AlreadyExists",
    "ContentGenerationError",
    "CreatorCLINotFoundException",
    "CreatorException",
    "DeadlineExceeded",
    "EtagMismatchException",
    "FailedPrecondition",
    "FieldViolation",
    "InvalidArgument",
    "InvalidStateException",
    "PermissionDenied",
    "RequestError",
    "ResourceExhausted",
    "ResourceNotFoundException",
    "ResumeTokenExpiredException",
    "TaskCancelledException",
    "TaskTimeoutException",
    "Unauthenticated",
    "Unavailable",
    "WaitTimeoutException",
]
DOMAIN = "contentgen"


class ContentGenerationError(Exception):
    """The base of all exceptions of the client.

    Attributes:
        message: for people.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the attributes, because the constructors of subclasses need more than `args`."""
        return _unpickled, (type(self), self.args, vars(self))


def _unpickled(
    kind: type[ContentGenerationError], args: tuple[Any, ...], attributes: Mapping[str, Any]
) -> ContentGenerationError:
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(attributes)
    return error


class CreatorException(ContentGenerationError):
    """The task has failed, and no retry is to come.

    Attributes:
        message: for people.
        details: `reason`, and what the worker knows by it: `exit_code`, `signal`, `stderr` (its tail).
    """

    def __init__(self, message: str, details: Mapping[str, str]) -> None:
        super().__init__(message)
        self.details = dict(details)


class CreatorCLINotFoundException(CreatorException):
    """The worker found no creator CLI to run."""


class TaskTimeoutException(CreatorException):
    """The last attempt took longer than the task's `timeout`, and no retry is to come."""


class TaskCancelledException(ContentGenerationError):
    """The task was cancelled.

    Attributes:
        message: for people.
        task: the status dict.
    """

    def __init__(self, message: str, task: Task) -> None:
        super().__init__(message)
        self.task = task


class WaitTimeoutException(ContentGenerationError, TimeoutError):
    """The time of the wait is up, and the task has not ended: it goes on.

    Attributes:
        message: for people.
        task: the status dict, as it stands.
    """

    def __init__(self, message: str, task: Task) -> None:
        super().__init__(message)
        self.task = task


class FieldViolation(NamedTuple):
    """A bad field of a request."""

    field: str
    """Its path, such as `requests[3].topic`."""
    description: str


class RequestError(ContentGenerationError):
    """A call failed: the scheduler refused it, or no scheduler answered.

    The statuses that a caller may handle have a class each; all others are this one.

    Attributes:
        message: for people.
        code: the gRPC status, such as `UNAVAILABLE`.
        reason: the scheduler's, such as `QUEUE_FULL`; empty if a proxy or gRPC itself failed the call.
        metadata: facts by reason, such as `task_id`.
        retry_delay: seconds to wait before the next attempt; None: the scheduler does not say.
        field_violations: each bad field of the request.
    """

    default_code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_delay: float | None = None,
        field_violations: Sequence[FieldViolation] = (),
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.retry_delay = retry_delay
        self.field_violations = tuple(field_violations)


class Unavailable(RequestError):
    """No scheduler answers, or the one that does can't serve the call now, for example without its database."""

    default_code = "UNAVAILABLE"


class DeadlineExceeded(RequestError):
    """There was no answer in time. A write may have been committed or not."""

    default_code = "DEADLINE_EXCEEDED"


class InvalidArgument(RequestError):
    """The request is wrong; `field_violations` names each bad field."""

    default_code = "INVALID_ARGUMENT"


class Unauthenticated(RequestError):
    """The token is missing or wrong."""

    default_code = "UNAUTHENTICATED"


class PermissionDenied(RequestError):
    """The token's role may not make this call, or not for this account."""

    default_code = "PERMISSION_DENIED"


class ResourceExhausted(RequestError):
    """A limit is reached: of the queue, the account, the caller's calls or the size of a message."""

    default_code = "RESOURCE_EXHAUSTED"


class AlreadyExists(RequestError):
    """The `request_id` was used for another payload; `metadata` has the `task_id`."""

    default_code = "ALREADY_EXISTS"


class FailedPrecondition(RequestError):
    """The call does not go with the state of the system, for example a submit to an inactive account."""

    default_code = "FAILED_PRECONDITION"


class InvalidStateException(FailedPrecondition):
    """The task or content is in a state that does not allow the call.

    Attributes:
        message: for people.
        current_state: in lower case.
        required_state: the state that the call needs, in lower case; several by comma.
    """

    def __init__(self, message: str, current_state: str, required_state: str, **more: Any) -> None:
        super().__init__(message, **more)
        self.current_state = current_state
        self.required_state = required_state


class EtagMismatchException(RequestError):
    """The content has changed since its `etag` was read: read it again.

    Attributes:
        message: for people.
        metadata: `etag` is the present one.
    """

    default_code = "ABORTED"


class ResourceNotFoundException(RequestError):
    """The account, task, content or worker does not exist.

    Attributes:
        message: names it.
    """

    default_code = "NOT_FOUND"


class ResumeTokenExpiredException(RequestError):
    """The events after a resume token are not kept any more: start a new watch without a token."""

    default_code = "OUT_OF_RANGE"


BY_CODE: Mapping[str, type[RequestError]] = {
    kind.default_code: kind
    for kind in (
        Unavailable,
        DeadlineExceeded,
        InvalidArgument,
        Unauthenticated,
        PermissionDenied,
        ResourceExhausted,
        AlreadyExists,
        FailedPrecondition,
    )
}
BY_REASON: Mapping[str, type[RequestError]] = {
    "ETAG_MISMATCH": EtagMismatchException,
    "RESOURCE_NOT_FOUND": ResourceNotFoundException,
    "RESUME_TOKEN_EXPIRED": ResumeTokenExpiredException,
}


def request_error(error: grpc.RpcError, target: Target | None) -> RequestError:
    """Returns the exception for a call to `target` that failed, by its reason, or else by its status."""
    code = error.code().name
    info, retry, bad_request = _details(error)
    attributes: dict[str, Any] = {
        "code": code,
        "reason": info.reason,
        "metadata": info.metadata,
        "retry_delay": retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        "field_violations": [
            FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations
        ],
    }
    message = error.details() or ""
    if not info.reason:
        message = described(code, message, target)
    if info.reason == "INVALID_STATE":
        states = info.metadata
        return InvalidStateException(
            message, states.get("current_state", ""), states.get("required_state", ""), **attributes
        )
    kind = BY_REASON.get(info.reason) or BY_CODE.get(code, RequestError)
    return kind(message, **attributes)


def _details(error: grpc.RpcError) -> tuple[ErrorInfo, RetryInfo, BadRequest]:
    """Returns the scheduler's own details, which are empty if there are none that can be read, such as a proxy's."""
    with suppress(DecodeError, ValueError):
        status: Status | None = rpc_status.from_call(error)  # type: ignore[arg-type] # reads what every RpcError has
        info, retry, bad_request = ErrorInfo(), RetryInfo(), BadRequest()
        for detail in status.details if status else ():
            for message in (info, retry, bad_request):
                detail.Unpack(message)
        if info.domain == DOMAIN:
            return info, retry, bad_request
    return ErrorInfo(), RetryInfo(), BadRequest()


def creator_exception(error: task_pb2.TaskError) -> CreatorException:
    kind = _BY_TASK_REASON.get(error.reason, CreatorException)
    return kind(error.message or error.reason, {"reason": error.reason, **error.details})


_BY_TASK_REASON = {"CREATOR_CLI_NOT_FOUND": CreatorCLINotFoundException, "TASK_TIMEOUT": TaskTimeoutException}
