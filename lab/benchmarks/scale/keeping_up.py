"""The retention loop on large tables: how many rows a second it deletes, at its beginning and at its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2

from lab.benchmarks.scale import sizes_of_tables
from lab.benchmarks.scale.case import Case, Size, Sizes
from lab.benchmarks.scale.filled import FILL, fill, filled, years
from lab.benchmarks.scale.rows import Row, Value
from lab.benchmarks.stack import Stack
from scheduler_svc.postgres import EmbeddedPostgres

DELETED = "retention: rows deleted"
SPACE = "retention: sizes"
_TABLES = {
    "deliveries": "webhook_deliveries",
    "ended tasks": "tasks",
    "contents": "contents",
    "audit events": "audit_events",
}
"""By what the loop calls their rows, in its order."""
_AGES = {
    "retention": "SELECT end_time FROM tasks WHERE end_time IS NOT NULL ORDER BY end_time OFFSET {} LIMIT 1",
    "content_retention": "SELECT create_time FROM contents ORDER BY content_id OFFSET {} LIMIT 1",
    "audit_retention": """
        SELECT to_timestamp((event_key >> 10) / 1e6) FROM audit_events ORDER BY event_key OFFSET {} LIMIT 1
    """,
}
"""When the youngest row was made that is due, by the setting."""
_PART = 10
_QUIET_S = 5.0


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """Yields a row for each kind of rows that are deleted, with the sizes before and after."""
    age, tables = years(sizes), list(_TABLES.values())
    ages = await asyncio.to_thread(_ages, await fill(folder, age), sizes.one("due"))
    async with filled(folder, age, **ages) as stack:
        yield sizes_of_tables.moment(stack, SPACE, "before", tables)
        batches = await _batches(stack)
        for name in _TABLES:
            yield Row(DELETED, {"of": name, **rates(batches[name])})
        yield sizes_of_tables.moment(stack, SPACE, "after", tables)


def _ages(place: Path, due: int) -> dict[str, str]:
    """Returns the settings by which so many tasks, contents and audit events are due."""
    ages = {}
    with (
        EmbeddedPostgres(place / "data" / "postgres") as server,
        closing(psycopg2.connect(server.dsn())) as connection,
        connection.cursor() as cursor,
    ):
        for name, statement in _AGES.items():
            cursor.execute(f"SELECT extract(epoch FROM now() - ({statement.format(due)}))")
            ages[name] = f"{math.ceil(cursor.fetchall()[0][0])}s"
    return ages


async def _batches(stack: Stack) -> dict[str, list[tuple[float, int]]]:
    """Returns when each batch was logged and how many rows it has deleted, once no more of them comes."""
    events: list[dict[str, Any]] = []
    while True:
        await asyncio.sleep(_QUIET_S)
        count, events = len(events), await asyncio.to_thread(stack.logged, "retention")
        if len(events) == count:
            break
    return {name: [_batch(event) for event in events if event["event"] == f"{name} deleted"] for name in _TABLES}


def _batch(event: dict[str, Any]) -> tuple[float, int]:
    return datetime.fromisoformat(event["timestamp"]).timestamp(), event["count"]


def rates(batches: Sequence[tuple[float, int]]) -> dict[str, Value]:
    """Of all, of the first tenth and of the last tenth; the first batch is when the clock starts."""
    part = max(2, len(batches) // _PART)
    first, last = batches[:part], batches[-part:]
    return {
        "rows": sum(rows for _, rows in batches),
        "seconds": round(batches[-1][0] - batches[0][0], 1),
        "rows/s": _rate(batches),
        "in the first tenth": _rate(first),
        "in the last tenth": _rate(last),
    }


def _rate(batches: Sequence[tuple[float, int]]) -> int:
    return round(sum(rows for _, rows in batches[1:]) / max(1e-3, batches[-1][0] - batches[0][0]))


CASE = Case(
    "retention",
    "The retention loop on many audit events and deliveries.",
    "3 minutes after the fill",
    measure,
    FILL
    | {
        "tasks": Size((1_000_000,), (3_000,), "ended tasks"),
        "contents": Size((1_000_000,), (3_000,), "the newest so many have their contents"),
        "audit": Size((10_000_000,), (3_000,), "audit events"),
        "deliveries": Size((10_000_000,), (3_000,), "deliveries of webhooks"),
        "delivery-hours": Size((80,), (80,), "hours over which the deliveries are spread; they are kept for 72"),
        "due": Size((500_000,), (1_000,), "tasks, contents and audit events that are deleted"),
    },
)
