"""A steady load for an hour, with what ended deleted after minutes: what bloats, and what drifts?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.__main__ import default_options
from lab.benchmarks.child import Child
from lab.benchmarks.measures import fresh
from lab.benchmarks.scale.case import Case, Plot, Size, Sizes
from lab.benchmarks.scale.drift import drift
from lab.benchmarks.scale.followed import Followed, followed
from lab.benchmarks.scale.rows import Row
from lab.benchmarks.scale.sampled import MIB, Sample
from lab.benchmarks.stack import Stack

SAMPLES = "steady load: each interval"
TABLES = "steady load: tables, MiB"
INDEXES = "steady load: indexes, MiB"
DRIFT = "steady load: after twice the retention, until the end"
COUNTS = "steady load: counts"
_WORKERS = 2
_DEPTH = 100
_POLL_S = 0.2
_DELETED = "ended tasks deleted"


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """Yields a row for each sample, then what has grown, then the counts."""
    retention = f"{sizes.one('retention')}s"
    async with (
        fresh(default_options(folder), retention=retention, content_retention=retention) as stack,
        followed(stack, _WORKERS, _DEPTH, timed=True) as fleet,
        _loader(stack, sizes) as loader,
    ):
        if not sizes.quick:
            await asyncio.to_thread(stack.warm_wal)
        samples = [Sample.of(stack, fleet)]
        loader.go()
        async for row in _sampled(stack, fleet, sizes, samples):
            yield row
        for row in _drift(samples, 2 * sizes.one("retention")):
            yield row
        yield await _counts(stack, fleet, loader)


def _loader(stack: Stack, sizes: Sizes) -> Child:
    accounts = ",".join(map(str, stack.accounts))
    options = {"rate": sizes.one("rate"), "seconds": sizes.one("seconds"), "accounts": accounts}
    return Child("scale.steady_loader", stack.folder, "loader", target=stack.target, **options)


async def _sampled(stack: Stack, fleet: Followed, sizes: Sizes, samples: list[Sample]) -> AsyncIterator[Row]:
    """Adds to the samples until the time is over."""
    interval = sizes.one("interval")
    for number in range(1, sizes.one("seconds") // interval + 1):
        await asyncio.sleep(samples[0].at + number * interval - time.monotonic())
        samples.append(await asyncio.to_thread(Sample.of, stack, fleet))
        sample, minute = samples[-1], {"minute": round(number * interval / 60, 2)}
        yield Row(SAMPLES, {**minute, **sample.values(samples[-2], fleet.take_waits_ms())})
        yield Row(TABLES, {**minute, **_mib(sample.tables)})
        yield Row(INDEXES, {**minute, **_mib(sample.indexes)})


def _mib(sizes: dict[str, int]) -> dict[str, float]:
    return {name: round(size / MIB, 2) for name, size in sizes.items()}


def _drift(samples: Sequence[Sample], settled_s: float) -> Iterator[Row]:
    settled = [sample for sample in samples if sample.at - samples[0].at >= settled_s]
    series: dict[str, list[float]] = {
        "database, MiB": [sample.total / MIB for sample in settled],
        "scheduler, MiB": [sample.rss / MIB for sample in settled],
        "dead rows": [sample.dead for sample in settled],
    }
    for name in samples[0].tables:
        series[f"table `{name}`, MiB"] = [sample.tables.get(name, 0) / MIB for sample in settled]
        series[f"indexes of `{name}`, MiB"] = [sample.indexes.get(name, 0) / MIB for sample in settled]
    return drift(DRIFT, [sample.at for sample in settled], series)


async def _counts(stack: Stack, fleet: Followed, loader: Child) -> Row:
    """Each task was completed once, and is there, or was deleted. Raises WrongCounts."""
    async with asyncio.timeout(scenario.PATIENCE_S):
        report = await loader.told()
    submitted = report["submitted"]
    await fleet.reach(submitted)
    remaining, deleted = await asyncio.to_thread(_left_and_deleted, stack, submitted)
    if fleet.completed != submitted:
        raise scenario.WrongCounts(f"{submitted} tasks were submitted, workers completed {fleet.completed}")
    counts = {"submitted": submitted, "completed": fleet.completed, "deleted": deleted, "left": remaining}
    return Row(COUNTS, {**counts, "latest call, s late": round(report["late_s"], 3)})


def _left_and_deleted(stack: Stack, submitted: int) -> tuple[int, int]:
    """A batch is logged after its commit."""
    deadline = time.monotonic() + 10
    while True:
        remaining = stack.query("SELECT count(*) FROM tasks WHERE status = 4")
        deleted = sum(event["count"] for event in stack.logged("retention") if event["event"] == _DELETED)
        if remaining + deleted == submitted:
            return remaining, deleted
        if time.monotonic() > deadline:
            raise scenario.WrongCounts(f"of {submitted} tasks {remaining} are left and {deleted} were deleted")
        time.sleep(_POLL_S)


CASE = Case(
    "steady",
    "A constant rate of tasks, all deleted some minutes after their end; a sample each minute.",
    "an hour and a minute",
    measure,
    {
        "rate": Size((300,), (100,), "tasks submitted a second"),
        "seconds": Size((3600,), (4,), "for how long"),
        "interval": Size((60,), (2,), "seconds between two samples"),
        "retention": Size((180,), (1,), "seconds that ended tasks and contents are kept"),
    },
    plots={
        "scale-steady.svg": Plot(
            SAMPLES,
            "minute",
            (
                ("database, MiB", "scheduler, MiB"),
                ("p50, ms", "p99, ms"),
                ("scheduler, µs a task", "PostgreSQL, µs a task"),
            ),
            "a steady load: size, submit to worker, CPU",
        )
    },
    every={SAMPLES: 10, TABLES: 0, INDEXES: 0},
)
