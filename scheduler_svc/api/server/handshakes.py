"""Failed TLS handshakes, as gRPC core tells of them: no API of it does, but its trace `handshaker` does. Part of `api`.

Pure: lines in, failures out. gRPC's texts are no contract; what is not recognised is no failure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

MAX_TOLD = 10
"""Failures that are told within a window; the rest of it is counted."""
WINDOW = 10.0
"""Seconds."""

_FAILED = re.compile(r"CallNextHandshakerLocked: error=(?!OK)(\w+: .*)")
_CALLER = re.compile(r"endpoint_peer_address=(?:ipv[46]:|unix:)?([^,}]+)")
_REASON = re.compile(r"OPENSSL_internal:(\w+)(?:: (?!Invalid certificate verification context)([^:]+))?")


@dataclass(frozen=True, slots=True)
class Failure:
    """One handshake that came to nothing."""

    caller: str
    """host:port."""
    reason: str
    hung_up: bool
    """Whether the caller went away before it said anything wrong, as probes do."""


class Failures:
    """Finds failures in a sequence of lines: the address stands some lines below the error."""

    def __init__(self) -> None:
        self._error = ""

    def next(self, line: str) -> Failure | None:
        """The failure that this line completes, if it does."""
        if found := _FAILED.search(line):
            self._error = found[1]
        if not self._error or not (caller := _CALLER.search(line)):
            return None
        error, self._error = self._error, ""
        return Failure(unquote(caller[1]), _reason(error), error.startswith("UNAVAILABLE"))


def _reason(error: str) -> str:
    if found := _REASON.search(error):
        return f"{found[1]}: {found[2]}" if found[2] else found[1]
    return error.partition(": ")[2][:200]


@dataclass(slots=True)
class Limit:
    """At most MAX_TOLD failures a window."""

    left_out: int = 0
    """Failures of this window that are not told."""
    _begin: float = field(default=float("-inf"))
    _told: int = 0

    def admits(self) -> bool:
        """Whether a failure may be told; otherwise it is counted."""
        self._told += 1
        if self._told > MAX_TOLD:
            self.left_out += 1
        return self._told <= MAX_TOLD

    def over(self, now: float) -> int:
        """Begins a new window where the old one is over; returns how many failures that one left out."""
        if now - self._begin < WINDOW:
            return 0
        left_out = self.left_out
        self._begin, self._told, self.left_out = now, 0, 0
        return left_out
