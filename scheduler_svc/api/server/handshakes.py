"""Finds failed TLS handshakes in gRPC core's trace `handshaker`, since no API reports them. Part of `api`.

Pure: lines in, failures out. gRPC may change its texts; unknown ones are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

MAX_LOGGED = 10
"""Failures that are logged per window; further ones are counted."""
LOG_WINDOW = 10.0
"""Seconds."""

_FAILED = re.compile(r"CallNextHandshakerLocked: error=(?!OK)(\w+: .*)")
_CALLER = re.compile(r"endpoint_peer_address=(?:ipv[46]:|unix:)?([^,}]+)")
_REASON = re.compile(r"OPENSSL_internal:(\w+)(?:: (?!Invalid certificate verification context)([^:]+))?")


@dataclass(frozen=True, slots=True)
class HandshakeFailure:
    caller: str
    """host:port."""
    reason: str
    hung_up: bool
    """Whether the caller disconnected without an error, as probes do."""


class HandshakeFailureParser:
    """Finds failures in a sequence of lines: the address follows some lines after the error."""

    def __init__(self) -> None:
        self._error = ""

    def next(self, line: str) -> HandshakeFailure | None:
        """The failure that this line completes. Returns None if it completes none."""
        if found := _FAILED.search(line):
            self._error = found[1]
        if not self._error or not (caller := _CALLER.search(line)):
            return None
        error, self._error = self._error, ""
        return HandshakeFailure(unquote(caller[1]), _reason(error), error.startswith("UNAVAILABLE"))


def _reason(error: str) -> str:
    if found := _REASON.search(error):
        return f"{found[1]}: {found[2]}" if found[2] else found[1]
    return error.partition(": ")[2][:200]


@dataclass(slots=True)
class LogLimit:
    """At most MAX_LOGGED failures per window."""

    suppressed: int = 0
    """Failures of this window that are not logged."""
    _begin: float = field(default=float("-inf"))
    _count: int = 0

    def allows(self) -> bool:
        """Counts a failure. Returns whether to log it."""
        self._count += 1
        if self._count > MAX_LOGGED:
            self.suppressed += 1
        return self._count <= MAX_LOGGED

    def next_window(self, now: float) -> int:
        """Starts a new window if the last one has ended. Returns how many failures of that one were not logged."""
        if now - self._begin < LOG_WINDOW:
            return 0
        left_out = self.suppressed
        self._begin, self._count, self.suppressed = now, 0, 0
        return left_out
