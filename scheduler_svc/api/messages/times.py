"""Timestamps and durations, from protobuf to Python and back, within protobuf's ranges. Part of `api`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400
_BILLION = 1_000_000_000
_FIRST_SECOND = -62_135_596_800  # 0001-01-01T00:00:00Z
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_MAX_SECONDS = 315_576_000_000
MAX_DURATION = timedelta(seconds=_MAX_SECONDS)
"""10,000 years: the longest Duration."""


def timestamp(time: datetime | None) -> Timestamp | None:
    """An aware datetime as a message; None stays unset."""
    if time is None:
        return None
    message = Timestamp()
    set_timestamp(message, time)
    return message


def set_timestamp(message: Timestamp, time: datetime) -> None:
    since = time - _EPOCH
    message.seconds, message.nanos = since.days * _DAY + since.seconds, since.microseconds * 1000


def duration(length: timedelta | None) -> Duration | None:
    """A timedelta of 0 or more as a message; None stays unset."""
    if length is None:
        return None
    message = Duration()
    set_duration(message, length)
    return message


def set_duration(message: Duration, length: timedelta) -> None:
    message.seconds, message.nanos = length.days * _DAY + length.seconds, length.microseconds * 1000


def set_milliseconds(message: Duration, milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    message.seconds, message.nanos = seconds, rest * 1_000_000


def datetime_of(message: Timestamp) -> datetime | None:
    """The time in UTC, cut to microseconds; None if the message is out of protobuf's range."""
    if not (_FIRST_SECOND <= message.seconds <= _LAST_SECOND and 0 <= message.nanos < _BILLION):
        return None
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def timedelta_of(message: Duration) -> timedelta | None:
    """The length, cut to microseconds; None if it is negative or out of protobuf's range."""
    if not (0 <= message.seconds <= _MAX_SECONDS and 0 <= message.nanos < _BILLION):
        return None
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
