"""A scheduler on a database with years of ended tasks, and how large its tables are.

What a case has filled the next ones of the run find there.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from lab.benchmarks.measures import MAX_PENDING_TASKS
from lab.benchmarks.scale.case import Case, Keep, Row, Size, Sizes, Value
from lab.benchmarks.scale.seed import Years, seed
from lab.benchmarks.scale.steady import MIB
from lab.benchmarks.stack import Stack

ACCOUNTS = 5
"""Of which the last one has few tasks."""
_DONE = "accounts.json"

FILL = {
    "tasks": Size((10_000_000,), (3_000,), "ended tasks; each has left four moves"),
    "contents": Size((4_000_000,), (3_000,), "the newest so many have their contents"),
    "gone": Size((0,), (0,), "tasks before these that are deleted, but not their contents"),
    "whole": Size((10**9,), (10**9,), "the oldest so many have moves, and of contents a publication"),
    "body": Size((100,), (2_000,), "bytes of an article"),
    "audit": Size((1_000_000,), (3_000,), "audit events"),
    "deliveries": Size((1_000_000,), (3_000,), "deliveries of webhooks"),
    "days": Size((1_000,), (1_000,), "days over which the tasks are spread"),
    "audit-days": Size((399,), (399,), "days over which the audit events are spread; they are kept for 400"),
    "delivery-hours": Size((48,), (48,), "hours over which the deliveries are spread; they are kept for 72"),
}


def years(sizes: Sizes, tasks: int | None = None) -> Years:
    """Returns what the options ask for; `tasks`: so many instead."""
    count = tasks or sizes.one("tasks")
    return Years(
        tasks=count,
        contents=min(count, sizes.one("contents")) + sizes.one("gone"),
        span=timedelta(days=sizes.one("days")),
        audit_span=timedelta(days=sizes.one("audit-days")),
        deliveries_span=timedelta(hours=sizes.one("delivery-hours")),
        **{name: sizes.one(name) for name in ("gone", "whole", "body", "audit", "deliveries")},
    )


@asynccontextmanager
async def filled(folder: Path, wanted: Years, **settings: str) -> AsyncIterator[Stack]:
    place = await fill_folder(folder, wanted)
    async with Stack(place, 0, max_queue_size=str(MAX_PENDING_TASKS), **settings) as stack:
        stack.accounts += await asyncio.to_thread(_accounts, place)
        # Those of the case before have the same names, which they hold for two minutes more.
        await asyncio.to_thread(stack.rows, "DELETE FROM workers")
        yield stack


async def fill_folder(folder: Path, wanted: Years) -> Path:
    """Returns the folder of such a database, which may be there already. Any other one is removed: for their size."""
    place = folder / "-".join(["years", *(str(part).replace(" ", "_") for part in wanted)])
    if not await asyncio.to_thread(_accounts, place):
        await asyncio.to_thread(_clear, folder, place)
        async with Stack(place, ACCOUNTS) as stack:
            accounts = stack.accounts
        await asyncio.to_thread(_seed, place, accounts, wanted)
    return place


def _clear(folder: Path, place: Path) -> None:
    for old_folder in folder.glob("years-*"):
        shutil.rmtree(old_folder)
    place.mkdir()
    place.chmod(0o711)


def _accounts(place: Path) -> list[int]:
    """Returns the account ids of a filled database. Returns an empty list if it is not filled."""
    done = place / _DONE
    return list(json.loads(done.read_text())) if done.exists() else []


def _seed(place: Path, accounts: list[int], ages: Years) -> None:
    begin = time.monotonic()

    def say(progress: str) -> None:
        print(f"{time.monotonic() - begin:8.0f} s  {progress}", file=sys.stderr)

    seed(place, accounts, ages, say)
    (place / _DONE).write_text(json.dumps(accounts))


_GROWING = (
    *("tasks", "task_payloads", "task_labels", "task_events", "contents"),
    *("publish_pool", "publish_attempts", "audit_events", "webhook_deliveries"),
)
_SIZES = """
    SELECT c.relname, c.reltuples::bigint, pg_relation_size(c.oid), pg_indexes_size(c.oid), s.n_dead_tup,
        s.autovacuum_count
    FROM pg_class AS c JOIN pg_stat_user_tables AS s ON s.relid = c.oid
    WHERE c.relname IN ({}) ORDER BY array_position(ARRAY[{}], CAST(c.relname AS text))
"""


class TableSize(NamedTuple):
    """Of one table: bytes of it and of its indexes, rows as far as they were counted, and vacuums since it was made."""

    name: str
    rows: int
    table: int
    indexes: int
    dead: int
    vacuums: int


def sizes_of(stack: Stack, names: Sequence[str]) -> list[TableSize]:
    quoted = ", ".join(f"'{name}'" for name in names)
    return [TableSize(*row) for row in stack.rows(_SIZES.format(quoted, quoted))]


def sizes_at(stack: Stack, title: str, when: str, names: Sequence[str]) -> Row:
    sizes = sizes_of(stack, names)
    tables = {f"`{size.name}`, MiB": round((size.table + size.indexes) / MIB) for size in sizes}
    dead, vacuums = sum(size.dead for size in sizes), sum(size.vacuums for size in sizes)
    return Row(title, {"when": when, **tables, "dead rows": dead, "vacuums": vacuums})


async def measure_fill(folder: Path, sizes: Sizes, keep: Keep) -> None:
    async with filled(folder, years(sizes)) as stack:
        for size in await asyncio.to_thread(sizes_of, stack, _GROWING):
            values: dict[str, Value] = {"table": size.name, "rows": size.rows, "MiB": round(size.table / MIB)}
            values["its indexes, MiB"] = round(size.indexes / MIB)
            values["bytes a row, with indexes"] = round((size.table + size.indexes) / max(1, size.rows))
            keep(Row("fill: sizes", values))


FILL_CASE = Case("fill", "Years of ended tasks, by SQL past the scheduler.", "10 minutes, 13 GB", measure_fill, FILL)
