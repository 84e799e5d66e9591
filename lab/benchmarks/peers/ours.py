"""contentgen's own round: the measures of `make bench`, each on a fresh scheduler with a fresh database."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.__main__ import default_options
from lab.benchmarks.latencies import latencies
from lab.benchmarks.measures import IN_FLIGHT, QUIET_S, Options, fresh
from lab.benchmarks.peers import figures
from lab.benchmarks.peers.apps import peer
from lab.benchmarks.peers.rounds import Sizes, Tell, tell_latencies
from lab.benchmarks.stack import Stack


async def _load(stack: Stack, options: Options, tasks: int) -> scenario.Span:
    return await scenario.load(stack, tasks, batch=options.batch, in_flight=IN_FLIGHT)


async def _drain(stack: Stack, options: Options, workers: int, tasks: int) -> float:
    """How many a second. Its workers are no-op ones, and each task leaves its result and its row of the pool."""
    async with scenario.noop_workers(stack, workers, options.depth) as running:
        span = await scenario.drain(stack, running, tasks)
    scenario.check(stack, tasks)
    return span.per_second


async def measure(above: Path, sizes: Sizes, tell: Tell) -> None:
    """Tells all figures of one round."""
    options = default_options(above)
    tasks = max(options.batch, sizes.tasks - sizes.tasks % options.batch)
    singles = max(1, tasks // 4)
    async with fresh(options) as stack:
        span = await scenario.load(stack, singles, batch=1, in_flight=peer.IN_FLIGHT)
        tell(figures.ENQUEUE, span.per_second, span.tasks)
    async with fresh(options) as stack:
        await _load(stack, options, tasks)
        tell(figures.DRAIN_1, await _drain(stack, options, 1, tasks), tasks)
    async with fresh(options) as stack:
        span = await _load(stack, options, tasks)
        tell(figures.BULK, span.per_second, span.tasks)
        tell(figures.OUR_JOB, await _drain(stack, options, 2, tasks), tasks)
    async with fresh(options) as stack:
        await asyncio.sleep(QUIET_S)
        tell_latencies(await latencies(stack, sizes.samples), tell)
