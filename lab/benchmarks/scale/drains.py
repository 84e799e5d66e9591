"""Loads and drains of a stack, metered. Dispatch is paused but for the drain, which so begins with all workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from grpc import aio

from contentgen.v1 import worker_pool_service_pb2 as pb
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceStub
from lab.benchmarks import scenario
from lab.benchmarks.__main__ import default_options
from lab.benchmarks.measures import IN_FLIGHT, fresh
from lab.benchmarks.scale.case import Sizes
from lab.benchmarks.scale.followed import Followed, followed
from lab.benchmarks.scale.meter import Meter
from lab.benchmarks.scale.rows import Value
from lab.benchmarks.stack import Stack
from tests.harness.processes import free_port

IN_HAND = 4_000
"""Leases that all workers of a drain hold together."""
BATCH = 500
"""Tasks of a submit."""
_POLL_S = 0.1
_QUIET_S = 1.0


@asynccontextmanager
async def warm(folder: Path, sizes: Sizes, **settings: str) -> AsyncIterator[tuple[Stack, Meter]]:
    """A scheduler on an empty database with warm WAL."""
    port = free_port()
    metrics = {"metrics_listen": f"127.0.0.1:{port}", **settings}
    async with fresh(default_options(folder), None, **metrics) as stack:
        if not sizes.quick:
            await asyncio.to_thread(stack.warm_wal)
        yield stack, Meter(stack, port)


async def load(stack: Stack, meter: Meter, tasks: int) -> dict[str, Value]:
    """Submits so many in batches; a row."""
    start = await meter.read()
    span = await scenario.load(stack, tasks, batch=min(BATCH, tasks), in_flight=IN_FLIGHT)
    row = (await meter.read()).used(start, tasks, start.at + span.end - span.begin)
    return {name: value for name, value in row.items() if "claim" not in name}


@asynccontextmanager
async def waiting_workers(stack: Stack, count: int, targets: Sequence[str] = ()) -> AsyncIterator[Followed]:
    """So many workers, connected, that get nothing before `drain`."""
    async with aio.insecure_channel(stack.target) as channel:
        await WorkerPoolServiceStub(channel).PauseDispatch(pb.PauseDispatchRequest())
    async with followed(stack, count, max(1, IN_HAND // count), targets) as fleet:
        await _connected(stack, count)
        await asyncio.sleep(_QUIET_S)  # their first heartbeats
        yield fleet


async def _connected(stack: Stack, count: int) -> None:
    async with asyncio.timeout(scenario.PATIENCE_S):
        while stack.query("SELECT count(*) FROM workers WHERE connected") < count:  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(_POLL_S)


async def drain(stack: Stack, meter: Meter, told: Followed, tasks: int) -> dict[str, Value]:
    """Lets the workers complete at least so many more; a row."""
    async with aio.insecure_channel(stack.target) as channel:
        pool = WorkerPoolServiceStub(channel)
        await channel.channel_ready()
        start, done = await meter.read(), told.completed
        await pool.ResumeDispatch(pb.ResumeDispatchRequest())
        end = await told.reach(done + tasks)
        end_values = await meter.read()
        await pool.PauseDispatch(pb.PauseDispatchRequest())
    return end_values.used(start, tasks, end)
