"""The client's exceptions, and how a refused call or a failed task becomes one.

Layer: client. Whatever has no exception here (a bad field, no scheduler, a deadline) stays the `grpc.RpcError` that it
is: its `code()` and `details()` say all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from contentgen.v1 import task_pb2

DOMAIN = "contentgen"


class CreatorException(Exception):
    """The creator CLI failed on a task.

    Attributes:
        message: for people.
        details: `reason`, and what the worker knows by it: `exit_code`, `signal`, `stderr` (its tail).
    """

    def __init__(self, message: str, details: Mapping[str, str]) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details)


class CreatorCLINotFoundException(CreatorException):
    """The worker found no creator CLI to run."""


class InvalidStateException(Exception):
    """Something stands where this call can't move it from.

    Attributes:
        message: for people.
        current_state: where it stands, in lower case.
        required_state: where it would have to stand; several by comma.
    """

    def __init__(self, message: str, current_state: str, required_state: str) -> None:
        super().__init__(message)
        self.message = message
        self.current_state = current_state
        self.required_state = required_state


class ResourceNotFoundException(Exception):
    """There is no such account, task or content.

    Attributes:
        message: names it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ResumeTokenExpiredException(Exception):
    """The events after a resume token are not kept any more: watch anew, without a token.

    Attributes:
        message: for people.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refusal(NamedTuple):
    """What the scheduler says of a call that it refused."""

    reason: str
    """Of google.rpc.ErrorInfo; empty where the refusal isn't the scheduler's own."""
    message: str
    metadata: Mapping[str, str]


def refusal(error: grpc.RpcError) -> Refusal:
    """What stands in the details of `error`, which a method of the client raised.

    Example:
        >>> try:
        ...     client.submit_task(1, topic, request_id="order-7")
        ... except grpc.RpcError as error:
        ...     print(refusal(error).reason, refusal(error).metadata)
    """
    assert isinstance(error, grpc.Call)  # what a stub raises is both
    info = _error_info(error) or ErrorInfo()
    return Refusal(info.reason, error.details() or "", dict(info.metadata))


def _error_info(error: grpc.Call) -> ErrorInfo | None:
    """The scheduler's own; details that can't be read, such as a proxy's, are none."""
    try:
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            info = ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info
    except (DecodeError, ValueError):
        pass
    return None


def raised_for(error: grpc.RpcError) -> Exception:
    """The exception that tells a caller of `error`; `error` itself where none fits better."""
    reason, message, metadata = refusal(error)
    if reason == "RESOURCE_NOT_FOUND":
        return ResourceNotFoundException(message)
    if reason == "INVALID_STATE":
        return InvalidStateException(message, metadata.get("current_state", ""), metadata.get("required_state", ""))
    if reason == "RESUME_TOKEN_EXPIRED":
        return ResumeTokenExpiredException(message)
    return error


def creator_exception(error: task_pb2.TaskError) -> CreatorException:
    """The exception that tells of a task's error."""
    kind = CreatorCLINotFoundException if error.reason == "CREATOR_CLI_NOT_FOUND" else CreatorException
    return kind(error.message or error.reason, {"reason": error.reason, **error.details})
