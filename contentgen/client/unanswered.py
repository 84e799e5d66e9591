"""Why a call had no answer of a scheduler, in words: from gRPC's own status and message.

gRPC's texts are no contract: what is not recognised is shown as it is. Layer: client, below its errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from contentgen.certificates import describe_expiry, earliest_expiry
from contentgen.client.target import Target


def described(code: str, message: str, target: Target | None) -> str:
    """Describes an error of gRPC itself: there is no scheduler, or it does not know this call.

    Args:
        code: the status.
        message: gRPC's.
        target: what was called; None: a channel of the caller's.
    """
    if code == "UNIMPLEMENTED":
        at = f" at {target.scheduler}" if target else ""
        return f"the scheduler{at} does not know this call: the scheduler is older than this client"
    if target is None:
        return message
    if code == "UNAVAILABLE":
        return _unreachable(message, target)
    if code == "DEADLINE_EXCEEDED":
        return (
            f"no answer in time from the scheduler at {target.scheduler}: is it the right address, and not overloaded?"
        )
    return f"the scheduler at {target.scheduler} answers {code}: {message}"


def _start_it(target: Target) -> str:
    return "start one (contentgen-scheduler), or name it" + " by CONTENTGEN_SCHEDULER" * target.from_environment


def _trust(target: Target) -> str:
    """Names what TLS is set by."""
    return "CONTENTGEN_TLS_CA" if target.from_environment and not target.given_credentials else "`credentials`"


def _who_hangs_up(target: Target) -> str:
    if target.credentials is None:
        return f"if it speaks TLS, set {_trust(target)}"
    if target.tls is None:
        return "if it requires client certificates, put one into `credentials`"
    if target.tls.cert is None:
        return "if it requires client certificates, set CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY"
    if expiry := _end_of(target.tls.cert):
        return f"replace CONTENTGEN_TLS_CLIENT_CERT, which {expiry}"
    return "it may not trust CONTENTGEN_TLS_CLIENT_CERT"


def _what_has_expired(target: Target) -> str:
    if target.tls and (expiry := _end_of(target.tls.ca)):
        return f"replace the authority in CONTENTGEN_TLS_CA, which {expiry}"
    return "give the scheduler a new CONTENTGEN_TLS_CERT; it reads the file again without a restart"


def _end_of(pem: bytes | None) -> str | None:
    """Returns a text that our certificate has expired; None if it has not."""
    end, now = earliest_expiry(pem or b""), datetime.now(UTC)
    return describe_expiry(end, now) if end and end <= now else None


_CAUSES: Sequence[tuple[str, str, Callable[[Target], str]]] = (
    (r"Failed to connect to remote host: (.+?)\)?$", r"\1", _start_it),
    (r"lookup failed|Domain name not found", "no such host", _start_it),
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
        lambda target: f"{_trust(target)} should be the authority that signed it",
    ),
    (r"WRONG_VERSION_NUMBER", "it speaks no TLS", lambda target: f"unset {_trust(target)}"),
    (r"SSL|[Hh]andshake", "the TLS handshake failed", lambda target: f"look at {_trust(target)}"),
    (r"Socket closed|Connection reset", "it hangs up", _who_hangs_up),
)
"""What gRPC's message matches, the cause, which may refer to groups of that, and the advice."""


def _unreachable(message: str, target: Target) -> str:
    """Returns one line: that there is no connection, why, and what to do."""
    for pattern, cause, advice in _CAUSES:
        if match := re.search(pattern, message):
            return f"cannot reach the scheduler at {target.scheduler} ({match.expand(cause)}): {advice(target)}"
    return f"cannot reach the scheduler at {target.scheduler} ({message}): {_start_it(target)}"
