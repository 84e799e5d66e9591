"""Exit statuses, and the one line that says why a command failed.

A failed call becomes a line here: what is wrong, where, and what to do.
"""

from __future__ import annotations

from enum import IntEnum

from contentgen.cli.cells import line
from contentgen.client.errors import RequestError


class Status(IntEnum):
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
    "INVALID_ARGUMENT": Status.USAGE,
    "OUT_OF_RANGE": Status.USAGE,
    "UNAUTHENTICATED": Status.USAGE,
    "PERMISSION_DENIED": Status.USAGE,
    "NOT_FOUND": Status.NOT_FOUND,
    "FAILED_PRECONDITION": Status.WRONG_STATE,
    "ALREADY_EXISTS": Status.WRONG_STATE,
    "ABORTED": Status.WRONG_STATE,
}
"""All others are the scheduler's: UNAVAILABLE."""

_ADVICE = {
    "QUEUE_FULL": "submit less, start more workers, or raise the schedulers' CONTENTGEN_MAX_QUEUE_SIZE",
    "TOO_MANY_SELECTORS": "use a selector that is there, or wait until tasks with others have ended",
    "ACCOUNT_QUEUE_FULL": "`contentgen account update ID --max-pending-tasks N` allows more",
    "TOO_MANY_CALLS": "all who use the same token share its calls: give each program a token of its own name",
    "STORE_UNAVAILABLE": "the scheduler is there, its database is not: look at `contentgen doctor`",
    "RETRIES_EXHAUSTED": "--reset-retry-count allows them again",
    "MAINTENANCE": "submit again when it is over",
    "TOKEN_INVALID": "set CONTENTGEN_TOKEN to a token of role client or operator",
    "ROLE_FORBIDDEN": "set CONTENTGEN_TOKEN to a token of role operator",
    "ACCOUNT_FORBIDDEN": "the token is tied to other accounts",
    "DELEGATION_FORBIDDEN": "this token is for a console that signs persons in: use one of your own",
    "ACCOUNT_INACTIVE": "`contentgen account update ID --active` lets it submit again",
    "RESUME_TOKEN_EXPIRED": "watch again, without --resume-token",
}
"""By the reason of ErrorInfo."""


class Failure(Exception):
    """A command fails for a reason of its own, not of a call."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


def status_of(error: RequestError) -> Status:
    return _BY_CODE.get(error.code, Status.UNAVAILABLE)


def error_line(error: RequestError) -> str:
    """Returns one line about a call's error, with what to do about it."""
    advice = _ADVICE.get(error.reason)
    return line(error.message) + (f"; {advice}" if advice else "")
