"""What happened to tasks in the hours and days of a span of time, for plots and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from contentgen import AsyncContentGenerationClient, Resolution, TaskHistoryPoint


class Span(NamedTuple):
    """A span of time of a plot. `label` is a text of the page."""

    label: str
    length: timedelta
    resolution: Resolution


SPANS: Mapping[str, Span] = {
    "1h": Span("1 hour", timedelta(hours=1), "hour"),
    "24h": Span("24 hours", timedelta(hours=23), "hour"),
    "7d": Span("7 days", timedelta(days=6), "day"),
    "30d": Span("30 days", timedelta(days=29), "day"),
}
"""By their names in addresses. The scheduler counts by hours and days of UTC, the present one is the last of a span."""


def chosen(name: str | None, default: str) -> str:
    """Returns the name of a span, whatever an address says."""
    return name if name is not None and name in SPANS else default


async def read(
    client: AsyncContentGenerationClient, name: str, account_id: int | None = None
) -> Sequence[TaskHistoryPoint]:
    """Reads the history of tasks in a span, the oldest hour or day first."""
    span = SPANS[name]
    return await client.get_task_history(account_id, span.resolution, start_time=datetime.now(UTC) - span.length)


async def today(client: AsyncContentGenerationClient, account_id: int | None = None) -> TaskHistoryPoint:
    """Reads the history of the present day of UTC."""
    return (await client.get_task_history(account_id, "day", start_time=datetime.now(UTC)))[-1]


def success_rate(point: TaskHistoryPoint) -> float | None:
    """Returns which part of the tasks that ended by themselves completed, from 0 to 1; None if none ended."""
    counts = point["counts"]
    total = counts["completed"] + counts["failed"] + counts["timeout"]
    return counts["completed"] / total if total else None
