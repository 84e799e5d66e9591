"""A report that is sent in parts, so that heartbeats go in between, and how large the parts are (rule 22).

Layer: pure, inside session; one for each stream.

One part is under way at a time, and takes a second or less: what waits behind it waits for no longer, however slow
the link. Heartbeats are among that, and a lease runs out where one is late by twice its interval; so is gRPC's own
ping, and a ping that is late ends the connection.
"""

from __future__ import annotations

from typing import NamedTuple

MIN_PART, MAX_PART = 4 * 1024, 256 * 1024
"""Bytes of a part."""
FAST_LIMIT = 0.5
"""Seconds that an answer takes at most for the next parts to be twice as large; less where heartbeats are close."""
SLOW_FACTOR = 3
"""Times that: the next ones are half as large."""
FAST_SHARE = 0.25
"""Of the time between two heartbeats: a part takes twice that at most."""


class ReportPart(NamedTuple):
    """The next bytes of a report."""

    report_number: int
    data: bytes
    last: bool


class ReportParts:
    """The parts of one report at a time."""

    def __init__(self, heartbeat_interval: float) -> None:
        self._fast_limit = min(FAST_LIMIT, FAST_SHARE * heartbeat_interval)
        self.size = MIN_PART
        """Bytes of a part, as the link was found to carry them."""
        self._report_number = 0
        self._left = memoryview(b"")
        self._sent_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether some of a report is still to be sent."""
        return bool(self._left)

    def begin(self, report_number: int, report: bytes) -> None:
        """A report is to be sent in parts; not while one is."""
        self._report_number, self._left, self._sent_at = report_number, memoryview(report), None

    def next(self, at: float) -> ReportPart | None:
        """The next part; None until the one before is received."""
        if not self._left or self._sent_at is not None:
            return None
        data, self._left = bytes(self._left[: self.size]), self._left[self.size :]
        self._sent_at = at if self._left else None
        return ReportPart(self._report_number, data, last=not self._left)

    def received(self, report_number: int, at: float) -> None:
        """The part before is there."""
        if self._sent_at is None or report_number != self._report_number:
            return
        took, self._sent_at = at - self._sent_at, None
        if took < self._fast_limit:
            self.size = min(2 * self.size, MAX_PART)
        elif took > SLOW_FACTOR * self._fast_limit:
            self.size = max(self.size // 2, MIN_PART)
