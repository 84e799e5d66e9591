"""contentgen's own round: the measures of `make bench`, each on a fresh scheduler with a fresh database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import scenario
from benchmarks.latencies import latencies
from benchmarks.measures import MAX_PENDING_TASKS, QUIET_S
from benchmarks.peers import figures
from benchmarks.peers.apps.peer import IN_FLIGHT
from benchmarks.peers.rounds import Sizes, Tell, step_folder
from benchmarks.stack import Stack

ACCOUNTS = 4
BATCH = 500
BATCHES_IN_FLIGHT = 4
DEPTH = 2_000
"""Leases that a worker holds at most."""


@asynccontextmanager
async def _fresh(above: Path) -> AsyncIterator[Stack]:
    async with step_folder(above) as folder, Stack(folder, ACCOUNTS, max_queue_size=str(MAX_PENDING_TASKS)) as stack:
        yield stack


async def _load(stack: Stack, tasks: int) -> scenario.Span:
    return await scenario.load(stack, tasks, batch=BATCH, in_flight=BATCHES_IN_FLIGHT)


async def _drain(stack: Stack, workers: int, tasks: int) -> float:
    """How many a second. Its workers are no-op ones, and each task leaves its result and its row of the pool."""
    async with scenario.noop_workers(stack, workers, DEPTH) as running:
        span = await scenario.drain(stack, running, tasks)
    scenario.check(stack, tasks)
    return span.per_second


async def measure(above: Path, sizes: Sizes, tell: Tell) -> None:
    """Tells all figures of one round."""
    tasks = max(BATCH, sizes.tasks - sizes.tasks % BATCH)
    singles = max(1, tasks // 4)
    async with _fresh(above) as stack:
        span = await scenario.load(stack, singles, batch=1, in_flight=IN_FLIGHT)
        tell(figures.ENQUEUE, span.per_second, span.tasks)
    async with _fresh(above) as stack:
        await _load(stack, tasks)
        tell(figures.DRAIN_1, await _drain(stack, 1, tasks), tasks)
    async with _fresh(above) as stack:
        span = await _load(stack, tasks)
        tell(figures.BULK, span.per_second, span.tasks)
        tell(figures.OUR_JOB, await _drain(stack, 2, tasks), tasks)
    async with _fresh(above) as stack:
        await asyncio.sleep(QUIET_S)
        samples = await latencies(stack, sizes.samples)
        tell(figures.IDLE_P50, samples.measured[len(samples.measured) // 2], len(samples.measured))
        tell(figures.IDLE_P99, samples.p99, len(samples.measured))
