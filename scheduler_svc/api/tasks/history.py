"""Reads which hours or days GetTaskHistory is about. Part of `api`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.api.messages.validation import Violations
from scheduler_svc.domain.rollup import Resolution

MAX_POINTS = 1_000
_USUAL = {Resolution.HOUR: timedelta(days=1), Resolution.DAY: timedelta(days=30)}
"""How long before the end a period begins."""
_FIRST = datetime.min.replace(tzinfo=UTC)


def read_period(request: pb.GetTaskHistoryRequest, bad: Violations) -> tuple[Resolution, datetime, datetime]:
    """The resolution, the start of the first hour or day, and the time before which the last one begins."""
    resolution = bad.status("resolution", request.resolution, Resolution) or Resolution.HOUR
    end = bad.optional_time("end_time", request) or datetime.now(UTC)
    earliest = max(end, _FIRST + _USUAL[resolution]) - _USUAL[resolution]
    start = resolution.floor(bad.optional_time("start_time", request) or earliest)
    if end < start:
        bad.add("end_time", "must not be earlier than start_time")
    elif (end - start) / resolution.length > MAX_POINTS:
        bad.add("start_time", f"must be at most {MAX_POINTS:,} {resolution.name.lower()}s before end_time")
    return resolution, start, end
