"""A report that is sent in parts, so that heartbeats go in between, and how large the parts are (rule 22).

Layer: pure, inside session; one for each stream.

One part is in flight at a time, and takes a second or less, so nothing waits longer behind it, however slow the network
is. Heartbeats wait behind it, and so do gRPC's own pings: late heartbeats let leases expire, and a late ping ends the
connection.
"""

from __future__ import annotations

from typing import NamedTuple

MIN_PART, MAX_PART = 4 * 1024, 256 * 1024
"""Bytes of a part."""
FAST_LIMIT = 0.5
"""Seconds: if a part is received sooner, the next ones are twice as large. Less if heartbeats are frequent."""
SLOW_FACTOR = 3
"""If a part takes longer than this multiple of the fast limit, the next ones are half as large."""
FAST_SHARE = 0.25
"""The fast limit is at most this share of the heartbeat interval."""


class ReportPart(NamedTuple):
    report_number: int
    data: bytes
    last: bool


class ReportCutter:
    """Cuts one report at a time into parts."""

    def __init__(self, heartbeat_interval: float) -> None:
        self._fast_limit = min(FAST_LIMIT, FAST_SHARE * heartbeat_interval)
        self.size = MIN_PART
        """Bytes of a part, adapted to the network."""
        self._report_number = 0
        self._left = memoryview(b"")
        self._sent_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a report has not been sent whole yet."""
        return bool(self._left)

    def begin(self, report_number: int, report: bytes) -> None:
        """Begins with a report. Not allowed while `busy`."""
        self._report_number, self._left, self._sent_at = report_number, memoryview(report), None

    def next(self, at: float) -> ReportPart | None:
        """Returns the next part; None if the last one is not received yet, or all is sent."""
        if not self._left or self._sent_at is not None:
            return None
        data, self._left = bytes(self._left[: self.size]), self._left[self.size :]
        self._sent_at = at if self._left else None
        return ReportPart(self._report_number, data, last=not self._left)

    def received(self, report_number: int, at: float) -> None:
        if self._sent_at is None or report_number != self._report_number:
            return
        duration, self._sent_at = at - self._sent_at, None
        if duration < self._fast_limit:
            self.size = min(2 * self.size, MAX_PART)
        elif duration > SLOW_FACTOR * self._fast_limit:
            self.size = max(self.size // 2, MIN_PART)
