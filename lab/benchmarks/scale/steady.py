"""A steady load for an hour, with what ended deleted after minutes: what bloats, and what drifts?"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.measures import Options, fresh
from lab.benchmarks.scale.case import Case, Keep, Plot, Row, Size, Sizes, Value
from lab.benchmarks.scenario import Fleet
from lab.benchmarks.stack import Cpu, Stack

MIB = 2**20
SAMPLES = "steady load: each interval"
TABLES = "steady load: tables, MiB"
INDEXES = "steady load: indexes, MiB"
DRIFT = "steady load: after twice the retention, until the end"
COUNTS = "steady load: counts"
_SIZES_OF_TABLES = """
    SELECT relname, pg_total_relation_size(oid) - pg_indexes_size(oid), pg_indexes_size(oid)
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
_OLDEST_S = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
    FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    completed: int
    cpu: Cpu
    wal: float
    rss: int
    dead: int
    oldest_s: float
    tables: dict[str, int]
    indexes: dict[str, int]

    @classmethod
    def of(cls, stack: Stack, fleet: Fleet) -> Self:
        sizes = stack.rows(_SIZES_OF_TABLES)
        return cls(
            at=time.monotonic(),
            completed=fleet.completed,
            cpu=stack.cpu(),
            wal=stack.wal(),
            rss=stack.rss(),
            dead=stack.query("SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables"),
            oldest_s=stack.query(_OLDEST_S),
            tables={name: table for name, table, _ in sizes},
            indexes={name: index for name, _, index in sizes},
        )

    @property
    def total(self) -> int:
        return sum(self.tables.values()) + sum(self.indexes.values())

    def values(self, before: Self, waits_ms: Sequence[float]) -> dict[str, Value]:
        """Returns a row: what is, and what a task has used since the sample before."""
        tasks = max(1, self.completed - before.completed)
        cpu = self.cpu - before.cpu
        return {
            "tasks/s": round(tasks / (self.at - before.at)),
            "p50, ms": percentile(waits_ms, 50),
            "p99, ms": percentile(waits_ms, 99),
            "database, MiB": round(self.total / MIB, 1),
            "dead rows": self.dead,
            "WAL, KiB a task": round((self.wal - before.wal) / tasks / 1024, 2),
            "scheduler, MiB": round(self.rss / MIB, 1),
            "scheduler, µs a task": round(cpu.scheduler / tasks * 1e6),
            "PostgreSQL, µs a task": round(cpu.postgres / tasks * 1e6),
            "oldest transaction, s": round(self.oldest_s, 2),
        }


def percentile(ordered: Sequence[float], of: int) -> float:
    """Returns a percentile of sorted values. Returns 0 if there are none."""
    return round(ordered[len(ordered) * of // 100], 1) if ordered else 0.0


def drift(seconds: Sequence[float], series: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """Yields a row for each figure that reaches 1; none of fewer than two samples."""
    for name, values in series.items() if len(seconds) > 1 else ():
        if max(values) >= 1.0:
            ends = {"first": values[0], "last": values[-1], "least": min(values), "most": max(values)}
            slope = statistics.linear_regression(seconds, values).slope * 3600.0
            rounded = {end: round(value, 1) for end, value in ends.items()}
            yield Row(DRIFT, {"what": name, **rounded, "slope an hour": round(slope, 2)})


async def measure(folder: Path, sizes: Sizes, keep: Keep) -> None:
    """Keeps a row for each sample, then what has grown, then the counts."""
    retention = f"{sizes.one('retention')}s"
    async with (
        fresh(Options(folder), retention=retention, content_retention=retention) as stack,
        scenario.noop_workers(stack, 2, 100, timed=True) as fleet,
        _loader(stack, sizes) as loader,
    ):
        fleet.go()
        if not sizes.quick:
            await asyncio.to_thread(stack.warm_wal)
        samples = [Sample.of(stack, fleet)]
        loader.go()
        await _sampled(stack, fleet, sizes, samples, keep)
        for row in _drifts(samples, 2 * sizes.one("retention")):
            keep(row)
        keep(await _counts(stack, fleet, loader))


def _loader(stack: Stack, sizes: Sizes) -> Child:
    options = {"rate": sizes.one("rate"), "seconds": sizes.one("seconds"), "accounts": stack.accounts}
    return Child("benchmarks.callers.submit_steadily", stack.folder, "loader", target=stack.target, **options)


async def _sampled(stack: Stack, fleet: Fleet, sizes: Sizes, samples: list[Sample], keep: Keep) -> None:
    interval = sizes.one("interval")
    for number in range(1, sizes.one("seconds") // interval + 1):
        await asyncio.sleep(samples[0].at + number * interval - time.monotonic())
        samples.append(await asyncio.to_thread(Sample.of, stack, fleet))
        sample, minute = samples[-1], {"minute": round(number * interval / 60, 2)}
        keep(Row(SAMPLES, {**minute, **sample.values(samples[-2], fleet.take_waits_ms())}))
        keep(Row(TABLES, {**minute, **_mib(sample.tables)}))
        keep(Row(INDEXES, {**minute, **_mib(sample.indexes)}))


def _mib(sizes: dict[str, int]) -> dict[str, float]:
    return {name: round(size / MIB, 2) for name, size in sizes.items()}


def _drifts(samples: Sequence[Sample], settled_s: float) -> Iterator[Row]:
    settled = [sample for sample in samples if sample.at - samples[0].at >= settled_s]
    series: dict[str, list[float]] = {
        "database, MiB": [sample.total / MIB for sample in settled],
        "scheduler, MiB": [sample.rss / MIB for sample in settled],
        "dead rows": [sample.dead for sample in settled],
    }
    for name in samples[0].tables:
        series[f"table `{name}`, MiB"] = [sample.tables.get(name, 0) / MIB for sample in settled]
        series[f"indexes of `{name}`, MiB"] = [sample.indexes.get(name, 0) / MIB for sample in settled]
    return drift([sample.at for sample in settled], series)


async def _counts(stack: Stack, fleet: Fleet, loader: Child) -> Row:
    """Checks that each task was completed once, and is there, or was deleted. Raises WrongCounts."""
    async with asyncio.timeout(scenario.PATIENCE_S):
        report = await loader.message()
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
        deleted = sum(event["count"] for event in stack.logged("retention") if event["event"] == "ended tasks deleted")
        if remaining + deleted == submitted:
            return remaining, deleted
        if time.monotonic() > deadline:
            raise scenario.WrongCounts(f"of {submitted} tasks {remaining} are left and {deleted} were deleted")
        time.sleep(0.2)


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
