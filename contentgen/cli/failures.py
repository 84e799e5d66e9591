"""Exit statuses, and the one line that says why a command did not do what it was told.

Layer: inside operators. A failed call becomes a line here and nowhere else: what is wrong, where, and what to do.
"""

from __future__ import annotations

from enum import IntEnum

import grpc

from contentgen.cli.cells import line
from contentgen.cli.connection import Target
from contentgen.cli.unreachable import unreachable
from contentgen.client.errors import (
    InvalidStateException,
    ResourceNotFoundException,
    ResumeTokenExpiredException,
    refusal,
)

CAUGHT = (grpc.RpcError, InvalidStateException, ResourceNotFoundException, ResumeTokenExpiredException)
"""What a call raises."""


class Status(IntEnum):
    """What a command ends with."""

    DONE = 0
    FAILED = 1
    """A task that was waited for did not complete, or `doctor` found something broken."""
    USAGE = 2
    """The call itself is wrong: its arguments, or whose token it carries."""
    NOT_FOUND = 3
    UNAVAILABLE = 4
    """No scheduler that can serve it now: none there, overloaded, or without its database."""
    WRONG_STATE = 5
    """What it is about does not allow it, or not yet."""
    INTERRUPTED = 130
    CLOSED_PIPE = 141


_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: Status.USAGE,
    grpc.StatusCode.OUT_OF_RANGE: Status.USAGE,
    grpc.StatusCode.UNAUTHENTICATED: Status.USAGE,
    grpc.StatusCode.PERMISSION_DENIED: Status.USAGE,
    grpc.StatusCode.NOT_FOUND: Status.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION: Status.WRONG_STATE,
    grpc.StatusCode.ALREADY_EXISTS: Status.WRONG_STATE,
}
"""All others are the scheduler's: UNAVAILABLE."""

_ADVICE = {
    "QUEUE_FULL": "submit less, start more workers, or raise the schedulers' CONTENTGEN_MAX_QUEUE_SIZE",
    "ACCOUNT_QUEUE_FULL": "`contentgen account update ID --max-pending-tasks N` allows more",
    "TOO_MANY_CALLS": "all who use the same token share its calls: give each program a token of its own name",
    "STORE_UNAVAILABLE": "the scheduler is there, its database is not: look at `contentgen doctor`",
    "RETRIES_EXHAUSTED": "--reset-retry-count allows them anew",
    "TOKEN_INVALID": "set CONTENTGEN_TOKEN to a token of role client or operator",
    "ROLE_FORBIDDEN": "set CONTENTGEN_TOKEN to a token of role operator",
    "ACCOUNT_FORBIDDEN": "the token is tied to other accounts",
    "ACCOUNT_INACTIVE": "`contentgen account update ID --active` lets it submit again",
}
"""By the reason of ErrorInfo."""


class Failure(Exception):
    """A command that can't do what it was told, for a reason of its own."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


def status_of(error: BaseException) -> Status:
    """The exit status for what a call raised."""
    if isinstance(error, Failure):
        return error.status
    if isinstance(error, ResourceNotFoundException):
        return Status.NOT_FOUND
    if isinstance(error, InvalidStateException):
        return Status.WRONG_STATE
    if isinstance(error, ResumeTokenExpiredException):
        return Status.USAGE
    assert isinstance(error, grpc.Call)
    return _BY_CODE.get(error.code(), Status.UNAVAILABLE)


def told(error: BaseException, target: Target) -> str:
    """One line on what a call raised, with what to do about it."""
    if isinstance(error, ResumeTokenExpiredException):
        return f"{line(error)}; watch anew, without --resume-token"
    if not isinstance(error, grpc.RpcError):
        return line(error)
    assert isinstance(error, grpc.Call)
    reason, message, _ = refusal(error)
    if not reason:
        return _without_a_reason(error.code(), message, target)
    advice = _ADVICE.get(reason)
    return line(message) + (f"; {advice}" if advice else "")


def _without_a_reason(code: grpc.StatusCode, message: str, target: Target) -> str:
    """It is gRPC's own: there is no scheduler, or it does not know this call."""
    if code is grpc.StatusCode.UNAVAILABLE:
        return unreachable(message, target)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return (
            f"no answer in time from the scheduler at {target.scheduler}: is it the right address, and not overloaded?"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"the scheduler at {target.scheduler} does not know this call: it is older than this command"
    return f"the scheduler at {target.scheduler} answers {code.name}: {line(message)}"
