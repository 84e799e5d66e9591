"""A steady load beside which something else is done: how long its calls take alone, and meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from lab.benchmarks.child import Child
from lab.benchmarks.scale.case import Size, Sizes
from lab.benchmarks.scale.followed import Followed, followed
from lab.benchmarks.scale.rows import Row
from lab.benchmarks.scale.sampled import percentile
from lab.benchmarks.stack import Stack

TO_WORKER = "submit to worker"
_WORKERS = 2
_DEPTH = 100
_SETTLE_S = 10.0

SIZES = {
    "alone": Size((60,), (1,), "seconds of the load alone"),
    "pace": Size((100,), (10,), "percent of the usual calls a second"),
}
"""Of such a load."""

Latencies = dict[str, list[float]]
"""Milliseconds by what takes them, the smallest first."""


class Load(NamedTuple):
    """A caller of all that `caller.RATES` names, and two workers that complete what it submits at once."""

    caller: Child
    told: Followed

    async def take(self) -> Latencies:
        """Those since the last time."""
        times = await self.caller.ask() | {TO_WORKER: self.told.take_waits_ms()}
        return {call: sorted(ms) for call, ms in times.items()}

    async def alone(self, seconds: float) -> Latencies:
        """Those of so many seconds, once it has run for a while."""
        await asyncio.sleep(min(seconds, _SETTLE_S))
        await self.take()
        await asyncio.sleep(seconds)
        return await self.take()


@asynccontextmanager
async def load(stack: Stack, sizes: Sizes) -> AsyncIterator[Load]:
    """Runs it with warm WAL. It ends before the workers: what it has submitted is completed."""
    if not sizes.quick:
        await asyncio.to_thread(stack.warm_wal)
    options = {"accounts": ",".join(map(str, stack.accounts)), "pace": sizes.one("pace")}
    async with (
        followed(stack, _WORKERS, _DEPTH, timed=True) as fleet,
        Child("scale.caller", stack.folder, "caller", target=stack.target, **options) as caller,
    ):
        yield Load(caller, fleet)


def compared(table: str, alone: Latencies, meanwhile: Latencies) -> list[Row]:
    """Returns a row for each kind of call."""
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
