"""Why there is no connection, derived from gRPC's message, and what to do about it.

gRPC's texts are no contract: what is not recognised is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from contentgen.cli.cells import line
from contentgen.cli.connection import Target
from contentgen.validity import describe_expiry, earliest_expiry

_NAME_IT = "start one (contentgen-scheduler), or name it by --scheduler or CONTENTGEN_SCHEDULER"


class _Cause(NamedTuple):
    pattern: re.Pattern[str]
    cause: str
    """May refer to groups of the pattern."""
    advice: Callable[[Target], str]


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
    """Text that our certificate has expired; None if it has not."""
    end, now = earliest_expiry(pem or b""), datetime.now(UTC)
    return describe_expiry(end, now) if end and end <= now else None


_CAUSES = (
    _Cause(re.compile(r"Failed to connect to remote host: (.+?)\)?$"), r"\1", lambda _: _NAME_IT),
    _Cause(re.compile(r"lookup failed|Domain name not found"), "no such host", lambda _: _NAME_IT),
    _Cause(re.compile(r"certificate has expired"), "its certificate has expired", _what_has_expired),
    _Cause(
        re.compile(r"certificate is not yet valid"),
        "its certificate is not valid yet",
        lambda _: "compare the clocks of this machine and of the one that made the certificate",
    ),
    _Cause(
        re.compile(r"Hostname Verification Check failed|not in peer certificate"),
        "its certificate is for another name",
        lambda _: "call it by a name or address that its CONTENTGEN_TLS_CERT has as subjectAltName, or replace that",
    ),
    _Cause(
        re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        "its certificate is not trusted",
        lambda _: "CONTENTGEN_TLS_CA should be the authority that signed it",
    ),
    _Cause(re.compile(r"WRONG_VERSION_NUMBER"), "it speaks no TLS", lambda _: "unset CONTENTGEN_TLS_CA"),
    _Cause(re.compile(r"SSL|[Hh]andshake"), "the TLS handshake failed", lambda _: "look at CONTENTGEN_TLS_CA"),
    _Cause(re.compile(r"Socket closed|Connection reset"), "it hangs up", _who_hangs_up),
)


def unreachable(message: str, target: Target) -> str:
    """One line: that there is no connection, why, and what to do."""
    for pattern, cause, advice in _CAUSES:
        if match := pattern.search(message):
            return f"cannot reach the scheduler at {target.scheduler} ({match.expand(cause)}): {advice(target)}"
    return f"cannot reach the scheduler at {target.scheduler} ({line(message)}): {_NAME_IT}"
