"""Exit statuses, and the one line that says why a command failed.

A failed call becomes a line here and nowhere else: what is wrong, where, and what to do. Why there is no connection is
derived from gRPC's message. gRPC's texts are no contract: what is not recognised is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import IntEnum

from contentgen.cli.cells import line
from contentgen.cli.connection import Target
from contentgen.client.errors import RequestError
from contentgen.validity import describe_expiry, earliest_expiry

_NAME_IT = "start one (contentgen-scheduler), or name it by --scheduler or CONTENTGEN_SCHEDULER"


def _who_hangs_up(target: Target) -> str:
    if target.tls is None:
        return "if it speaks TLS, set CONTENTGEN_TLS_CA"
    if target.tls.cert is None:
        return "if it requires client certificates, set CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY"
    if expiry := _end_of(target.tls.cert):
        return f"replace CONTENTGEN_TLS_CLIENT_CERT, which {expiry}"
    return "it may not trust CONTENTGEN_TLS_CLIENT_CERT"


def _what_has_expired(target: Target) -> str:
    assert target.tls
    if expiry := _end_of(target.tls.ca):
        return f"replace the authority in CONTENTGEN_TLS_CA, which {expiry}"
    return "give the scheduler a new CONTENTGEN_TLS_CERT; it reads the file again without a restart"


def _end_of(pem: bytes | None) -> str | None:
    """Returns a text that our certificate has expired; None if it has not."""
    end, now = earliest_expiry(pem or b""), datetime.now(UTC)
    return describe_expiry(end, now) if end and end <= now else None


_CAUSES: Sequence[tuple[str, str, Callable[[Target], str]]] = (
    (r"Failed to connect to remote host: (.+?)\)?$", r"\1", lambda _: _NAME_IT),
    (r"lookup failed|Domain name not found", "no such host", lambda _: _NAME_IT),
    (r"certificate has expired", "its certificate has expired", _what_has_expired),
    (
        r"certificate is not yet valid",
        "its certificate is not valid yet",
        lambda _: "compare the clocks of this machine and of the one that made the certificate",
    ),
    (
        r"Hostname Verification Check failed|not in peer certificate",
        "its certificate is for another name",
        lambda _: "call it by a name or address that its CONTENTGEN_TLS_CERT has as subjectAltName, or replace that",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted",
        lambda _: "CONTENTGEN_TLS_CA should be the authority that signed it",
    ),
    (r"WRONG_VERSION_NUMBER", "it speaks no TLS", lambda _: "unset CONTENTGEN_TLS_CA"),
    (r"SSL|[Hh]andshake", "the TLS handshake failed", lambda _: "look at CONTENTGEN_TLS_CA"),
    (r"Socket closed|Connection reset", "it hangs up", _who_hangs_up),
)
"""What gRPC's message matches, the cause, which may refer to groups of that, and the advice."""


def unreachable(message: str, target: Target) -> str:
    """Returns one line: that there is no connection, why, and what to do."""
    for pattern, cause, advice in _CAUSES:
        if match := re.search(pattern, message):
            return f"cannot reach the scheduler at {target.scheduler} ({match.expand(cause)}): {advice(target)}"
    return f"cannot reach the scheduler at {target.scheduler} ({line(message)}): {_NAME_IT}"


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
    "ACCOUNT_QUEUE_FULL": "`contentgen account update ID --max-pending-tasks N` allows more",
    "TOO_MANY_CALLS": "all who use the same token share its calls: give each program a token of its own name",
    "STORE_UNAVAILABLE": "the scheduler is there, its database is not: look at `contentgen doctor`",
    "RETRIES_EXHAUSTED": "--reset-retry-count allows them again",
    "TOKEN_INVALID": "set CONTENTGEN_TOKEN to a token of role client or operator",
    "ROLE_FORBIDDEN": "set CONTENTGEN_TOKEN to a token of role operator",
    "ACCOUNT_FORBIDDEN": "the token is tied to other accounts",
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


def error_line(error: RequestError, target: Target) -> str:
    """Returns one line about a call's error, with what to do about it."""
    if not error.reason:
        return _without_a_reason(error.code, error.message, target)
    advice = _ADVICE.get(error.reason)
    return line(error.message) + (f"; {advice}" if advice else "")


def _without_a_reason(code: str, message: str, target: Target) -> str:
    """Describes an error of gRPC itself: there is no scheduler, or it does not know this call."""
    if code == "UNAVAILABLE":
        return unreachable(message, target)
    if code == "DEADLINE_EXCEEDED":
        return (
            f"no answer in time from the scheduler at {target.scheduler}: is it the right address, and not overloaded?"
        )
    if code == "UNIMPLEMENTED":
        return f"the scheduler at {target.scheduler} does not know this call: it is older than this command"
    return f"the scheduler at {target.scheduler} answers {code}: {line(message)}"
