"""A backup and a cleanup beside a steady load, and the retention loop, on a database with years of ended tasks."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from contentgen import AsyncContentGenerationClient
from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.scale.case import Case, Keep, Row, Size, Sizes, Value
from lab.benchmarks.scale.filled import FILL, fill_folder, filled, sizes_at, sizes_of, write_more, years
from lab.benchmarks.scale.steady import MIB, percentile
from lab.benchmarks.scenario import Fleet
from lab.benchmarks.stack import Stack
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.cluster import rows_of
from tests.harness.process import STOP_LIMIT, Process, installed
from tests.harness.waiting import wait_until_async

SIZES = FILL | {
    "alone": Size((60,), (1,), "seconds of the load alone"),
    "pace": Size((100,), (10,), "percent of the usual calls a second"),
}
"""Of such a load, on a filled database."""

Latencies = dict[str, list[float]]
"""Milliseconds by what takes them, the smallest first."""


class Load(NamedTuple):
    """A caller of all that `callers.RATES` names, and two workers that complete what it submits at once."""

    caller: Child
    fleet: Fleet

    async def take(self) -> Latencies:
        times = await self.caller.ask() | {"submit to worker": self.fleet.take_waits_ms()}
        return {call: sorted(ms) for call, ms in times.items()}

    async def alone(self, seconds: float) -> Latencies:
        """Returns those of so many seconds, once it has run for a while."""
        await asyncio.sleep(min(seconds, 10.0))
        await self.take()
        await asyncio.sleep(seconds)
        return await self.take()


@asynccontextmanager
async def steady_load(stack: Stack, sizes: Sizes) -> AsyncIterator[Load]:
    """Runs it with warm WAL. It ends before the workers: what it has submitted is completed."""
    if not sizes.quick:
        await asyncio.to_thread(stack.warm_wal)
    options = {"accounts": stack.accounts, "pace": sizes.one("pace")}
    async with (
        scenario.noop_workers(stack, 2, 100, timed=True) as fleet,
        Child("benchmarks.callers.call_steadily", stack.folder, "caller", target=stack.target, **options) as caller,
    ):
        fleet.go()
        yield Load(caller, fleet)


def compared(table: str, alone: Latencies, meanwhile: Latencies) -> list[Row]:
    return [Row(table, {"call": call, **_values(alone[call], meanwhile[call])}) for call in alone]


def _values(baseline: list[float], meanwhile: list[float]) -> dict[str, int | float]:
    baseline_p99, p99 = percentile(baseline, 99), percentile(meanwhile, 99)
    return {
        "alone, p50 ms": percentile(baseline, 50),
        "p99": baseline_p99,
        "longest alone": baseline[-1] if baseline else 0.0,
        "calls": len(baseline),
        "meanwhile, p50 ms": percentile(meanwhile, 50),
        "p99 ms": p99,
        "longest": meanwhile[-1] if meanwhile else 0.0,
        "calls meanwhile": len(meanwhile),
        "p99, times": round(p99 / baseline_p99, 2) if baseline_p99 else 0.0,
    }


async def measure_backup(folder: Path, sizes: Sizes, keep: Keep) -> None:
    """Measures one that is only written, then one that is also restored elsewhere and compared row by row."""
    async with filled(folder, years(sizes)) as stack, steady_load(stack, sizes) as load:
        for kind, arguments in (("written", []), ("written and proved", ["--verify"])):
            baseline = await load.alone(sizes.one("alone"))
            keep(await _back_up(stack, kind, *arguments))
            for row in compared(f"backup: calls beside it, milliseconds, {kind}", baseline, await load.take()):
                keep(row)


async def _back_up(stack: Stack, kind: str, *arguments: str) -> Row:
    """Raises WrongCounts if the command fails."""
    file = stack.folder / "years.backup"
    command = [installed("contentgen-scheduler"), "backup", *arguments, file]
    variables = os.environ | {"CONTENTGEN_DATA_DIR": str(stack.folder / "data"), "TMPDIR": str(stack.folder)}
    begin = time.monotonic()
    with Process("backup", command, stack.folder / "backup.log", variables, cwd=Path.cwd()) as process:
        try:
            await wait_until_async(lambda: not process.alive, within=scenario.PATIENCE_S, what="the backup has ended")
        except asyncio.CancelledError:
            process.signal(signal.SIGTERM)
            process.popen.wait(STOP_LIMIT)
            raise
    seconds = time.monotonic() - begin
    if process.exit_status:
        raise scenario.WrongCounts(f"the backup ended with {process.exit_status}: {process.text()}")
    size = file.stat().st_size
    file.unlink()
    database = stack.query("SELECT pg_database_size(current_database())")
    values = {"backup": kind, "seconds": round(seconds, 1), "database, MiB": round(database / MIB)}
    verdict = process.text().strip().splitlines()[-1].rpartition(": ")[2]
    return Row("backup: what it takes", {**values, "file, MiB": round(size / MIB), "it says": verdict})


BACKUP = Case(
    "backup",
    "A backup of many tasks beside a steady load.",
    "6 minutes after the fill",
    measure_backup,
    SIZES
    | {
        "tasks": Size((1_000_000,), (3_000,), "ended tasks"),
        "contents": Size((1_000_000,), (3_000,), "the newest so many have their contents"),
        "body": Size((2_000,), (2_000,), "bytes of an article"),
    },
)


CLEANED_UP = "cleanup: tasks deleted"
_CLEANUP_TABLES = ("tasks", "task_payloads", "task_labels", "task_events")


async def measure_cleanup(folder: Path, sizes: Sizes, keep: Keep) -> None:
    """Measures what calls feel, and the tables' sizes; all of it twice, with as many tasks written in between."""
    count = sizes.one("deleted")
    async with filled(folder, years(sizes)) as stack, steady_load(stack, sizes) as load:
        keep(_space(stack, "before"))
        for turn in ("first", "second"):
            await _turn(stack, load, turn, sizes, keep)
            await asyncio.to_thread(write_more, stack.dsn, count, stack.accounts)
            keep(_space(stack, f"the {turn} time written again"))


async def _turn(stack: Stack, load: Load, turn: str, sizes: Sizes, keep: Keep) -> None:
    vacuums = _vacuums(stack)
    baseline = await load.alone(sizes.one("alone"))
    keep(await _clean_up(stack, turn, sizes.one("deleted")))
    for row in compared(f"cleanup: calls beside it, milliseconds, the {turn} time", baseline, await load.take()):
        keep(row)
    keep(_space(stack, f"the {turn} time deleted"))
    seconds = await _vacuumed(stack, vacuums, sizes.one("patience"))
    keep(_space(stack, f"{seconds:.0f} s later"))


async def _clean_up(stack: Stack, turn: str, count: int) -> Row:
    """Deletes so many, as a client does. Raises WrongCounts."""
    begin = time.monotonic()
    async with AsyncContentGenerationClient(stack.target) as client:
        deleted = await client.cleanup_tasks(days=0, limit=count)
    seconds = time.monotonic() - begin
    if deleted != count:
        raise scenario.WrongCounts(f"{count} tasks were to be deleted, {deleted} were")
    values = {"tasks": deleted, "seconds": round(seconds, 1), "tasks/s": round(count / seconds)}
    return Row(CLEANED_UP, {"time": turn, **values})


def _vacuums(stack: Stack) -> dict[str, int]:
    return {size.name: size.vacuums for size in sizes_of(stack, _CLEANUP_TABLES)}


async def _vacuumed(stack: Stack, counts: dict[str, int], patience: float) -> float:
    """Waits until each of the tables was vacuumed, or for so long; returns how long that was."""
    begin = time.monotonic()
    while any(count == counts[name] for name, count in _vacuums(stack).items()):
        await asyncio.sleep(1.0)
        if time.monotonic() - begin > patience:
            break
    return time.monotonic() - begin


def _space(stack: Stack, moment: str) -> Row:
    return sizes_at(stack, "cleanup: space", moment, _CLEANUP_TABLES)


CLEANUP = Case(
    "cleanup",
    "CleanupTasks beside a steady load, on a database of many ended tasks.",
    "10 minutes after the fill",
    measure_cleanup,
    SIZES
    | {
        "deleted": Size((1_000_000,), (900,), "tasks that it deletes, twice; not the newest 1,000, which are read"),
        "patience": Size((60,), (1,), "seconds to wait for a vacuum of its tables"),
    },
)


RETENTION_DELETED = "retention: rows deleted"
RETENTION_SIZES = "retention: sizes"
_TABLES = {
    "deliveries": "webhook_deliveries",
    "ended tasks": "tasks",
    "contents": "contents",
    "audit events": "audit_events",
}
"""By what the loop calls their rows, in its order."""
_BY_AGE = ("ended tasks", "contents", "audit events")
"""Those that `_AGES` makes due; the deliveries' age is fixed."""
_AGES = {
    "retention": "SELECT end_time FROM tasks WHERE end_time IS NOT NULL ORDER BY end_time OFFSET {} LIMIT 1",
    "content_retention": "SELECT create_time FROM contents ORDER BY content_id OFFSET {} LIMIT 1",
    "audit_retention": """
        SELECT to_timestamp((event_key >> 10) / 1e6) FROM audit_events ORDER BY event_key OFFSET {} LIMIT 1
    """,
}
"""When the youngest row was made that is due, by the setting."""


async def measure_retention(folder: Path, sizes: Sizes, keep: Keep) -> None:
    age, tables = years(sizes), list(_TABLES.values())
    ages = await asyncio.to_thread(_ages, await fill_folder(folder, age), sizes.one("due"))
    async with filled(folder, age, **ages) as stack:
        keep(sizes_at(stack, RETENTION_SIZES, "before", tables))
        batches = await _batches(stack, sizes.one("due"))
        for name in _TABLES:
            keep(Row(RETENTION_DELETED, {"of": name, **rates(batches[name])}))
        keep(sizes_at(stack, RETENTION_SIZES, "after", tables))


def _ages(place: Path, due: int) -> dict[str, str]:
    """Returns the settings by which so many tasks, contents and audit events are due."""
    ages = {}
    server = EmbeddedPostgres(place / "data" / "postgres")
    with server, closing(psycopg2.connect(server.dsn())) as connection:
        for name, statement in _AGES.items():
            ((age,),) = rows_of(connection, f"SELECT extract(epoch FROM now() - ({statement.format(due)}))")
            ages[name] = f"{math.floor(age)}s"  # due at once: else their round may come an hour later
    return ages


Batches = dict[str, list[tuple[float, int]]]
"""When each batch was logged and how many rows it has deleted, by what they are."""


async def _batches(stack: Stack, due: int) -> Batches:
    """Returns them once as many are deleted as were made due by their ages, and no more come."""
    batches: Batches = {}
    async with asyncio.timeout(scenario.PATIENCE_S):
        while True:
            await asyncio.sleep(5.0)
            before, batches = batches, _batches_of(await asyncio.to_thread(stack.logged, "retention"))
            deleted = [sum(rows for _, rows in batches[name]) for name in _BY_AGE]
            if batches == before and min(deleted) > due:
                return batches


def _batches_of(events: Sequence[dict[str, Any]]) -> Batches:
    batches: Batches = {name: [] for name in _TABLES}
    for event in events:
        name, _, what = event["event"].rpartition(" ")
        if name in batches and what == "deleted":
            batches[name].append((datetime.fromisoformat(event["timestamp"]).timestamp(), event["count"]))
    return batches


def rates(batches: Sequence[tuple[float, int]]) -> dict[str, Value]:
    """Returns those of all, of the first tenth and of the last tenth; the first batch is when the clock starts."""
    part = max(2, len(batches) // 10)
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


RETENTION = Case(
    "retention",
    "The retention loop on many audit events and deliveries.",
    "3 minutes after the fill",
    measure_retention,
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
