"""Python's durations and times as protobuf's. None stays None: the scheduler's default holds.

Layer: client.
"""

from __future__ import annotations

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def duration(seconds: float | None) -> Duration | None:
    """Raises ValueError, OverflowError for what no Duration can hold."""
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def timestamp(moment: datetime | str | None) -> Timestamp | None:
    """Text is ISO 8601; a moment without a zone is UTC. Raises ValueError for other text."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)
    return message
