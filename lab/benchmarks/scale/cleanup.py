"""CleanupTasks deletes a million of many tasks: what do other calls feel, and is the space used again?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from contentgen import AsyncContentGenerationClient
from lab.benchmarks import scenario
from lab.benchmarks.scale import beside, sizes_of_tables
from lab.benchmarks.scale.beside import Load
from lab.benchmarks.scale.case import Case, Size, Sizes
from lab.benchmarks.scale.filled import FILL, filled, years
from lab.benchmarks.scale.rows import Row
from lab.benchmarks.scale.seed.database import write_more
from lab.benchmarks.stack import Stack

CALLS = "cleanup: calls beside it, milliseconds"
DELETED = "cleanup: tasks deleted"
SPACE = "cleanup: space"
_TABLES = ("tasks", "task_payloads", "task_labels", "task_events")
_POLL_S = 1.0


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """What calls feel, and the sizes of the tables; all of it twice, with as many tasks written in between."""
    count = sizes.one("deleted")
    async with filled(folder, years(sizes)) as stack, beside.load(stack, sizes) as load:
        yield _space(stack, "before")
        for turn in ("first", "second"):
            async for row in _turn(stack, load, turn, sizes):
                yield row
            await asyncio.to_thread(write_more, stack.dsn, count, stack.accounts)
            yield _space(stack, f"the {turn} time written again")


async def _turn(stack: Stack, load: Load, turn: str, sizes: Sizes) -> AsyncIterator[Row]:
    vacuums = _vacuums(stack)
    baseline = await load.alone(sizes.one("alone"))
    yield await _clean_up(stack, turn, sizes.one("deleted"))
    for row in beside.compared(f"{CALLS}, the {turn} time", baseline, await load.take()):
        yield row
    yield _space(stack, f"the {turn} time deleted")
    seconds = await _vacuumed(stack, vacuums, sizes.one("patience"))
    yield _space(stack, f"{seconds:.0f} s later")


async def _clean_up(stack: Stack, turn: str, count: int) -> Row:
    """Deletes so many, as a client does. Raises WrongCounts."""
    begin = time.monotonic()
    async with AsyncContentGenerationClient(stack.target) as client:
        deleted = await client.cleanup_tasks(days=0, limit=count)
    seconds = time.monotonic() - begin
    if deleted != count:
        raise scenario.WrongCounts(f"{count} tasks were to be deleted, {deleted} were")
    values = {"tasks": deleted, "seconds": round(seconds, 1), "tasks/s": round(count / seconds)}
    return Row(DELETED, {"time": turn, **values})


def _vacuums(stack: Stack) -> dict[str, int]:
    names = ", ".join(f"'{name}'" for name in _TABLES)
    return dict(stack.rows(f"SELECT relname, autovacuum_count FROM pg_stat_user_tables WHERE relname IN ({names})"))


async def _vacuumed(stack: Stack, counts: dict[str, int], patience: float) -> float:
    """Waits until each of the tables was vacuumed, or for so long; returns how long that was."""
    begin = time.monotonic()
    while any(count == counts[name] for name, count in _vacuums(stack).items()):
        await asyncio.sleep(_POLL_S)
        if time.monotonic() - begin > patience:
            break
    return time.monotonic() - begin


def _space(stack: Stack, moment: str) -> Row:
    return sizes_of_tables.moment(stack, SPACE, moment, _TABLES)


CASE = Case(
    "cleanup",
    "CleanupTasks beside a steady load, on a database of many ended tasks.",
    "10 minutes after the fill",
    measure,
    FILL
    | beside.SIZES
    | {
        "deleted": Size((1_000_000,), (900,), "tasks that it deletes, twice; not the newest 1,000, which are read"),
        "patience": Size((60,), (1,), "seconds to wait for a vacuum of its tables"),
    },
)
