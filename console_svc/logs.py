"""The console's logs: JSON, and no line too often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from structlog.typing import EventDict

from contentgen.service import logs

MAX_LINES = 20
"""Lines from one place in the code in a `WINDOW`: whoever can make it log must not fill a disk by that."""
WINDOW = 60.0
"""Seconds."""


def configure_logging(level: str) -> None:
    logs.configure_logging(level, "json", filters=[Rate()], last=[_add_left_out])
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of each request that is none


class Rate(logging.Filter):
    """Lets `MAX_LINES` from a place in the code pass in a `WINDOW`; the next that passes says how many did not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._counts: dict[tuple[str, int], tuple[float, int]] = {}  # the begin of a window, and lines since then

    def filter(self, record: logging.LogRecord) -> bool:
        now, place = self._clock(), (record.pathname, record.lineno)
        since, lines = self._counts.get(place, (now, 0))
        if now - since >= WINDOW:
            record.left_out = max(lines - MAX_LINES, 0)
            since, lines = now, 0
        self._counts[place] = since, lines + 1
        return lines < MAX_LINES


def _add_left_out(_logger: object, _method: str, event: EventDict) -> EventDict:
    if left_out := getattr(event["_record"], "left_out", 0):
        event["left_out"] = left_out
    return event
