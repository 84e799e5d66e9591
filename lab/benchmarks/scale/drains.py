"""Loads and drains of a stack, metered: what a span of work has used, for each task of it.

Dispatch is paused but for the drain, which so begins with all workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from contentgen import AsyncContentGenerationClient
from lab.benchmarks import scenario
from lab.benchmarks.measures import IN_FLIGHT, Options, fresh
from lab.benchmarks.scale.case import Sizes, Value
from lab.benchmarks.scenario import Fleet
from lab.benchmarks.stack import Cpu, Stack
from tests.harness.process import Process
from tests.harness.processes import free_port
from tests.harness.scrape import Scrape


@dataclass(frozen=True, slots=True)
class Reading:
    """So far; the claims are those that leased something or looked for it."""

    at: float
    cpu: Cpu
    wal: float
    claims: float
    claim_s: float

    def used(self, before: Self, tasks: int, end: float) -> dict[str, Value]:
        """Returns a row for so many tasks from the reading before until `end`."""
        cpu = self.cpu - before.cpu
        claims = self.claims - before.claims
        row: dict[str, Value] = {
            "tasks/s": round(tasks / (end - before.at)),
            "scheduler, µs a task": round(cpu.scheduler / tasks * 1e6),
            "PostgreSQL, µs a task": round(cpu.postgres / tasks * 1e6),
            "WAL, KiB a task": round((self.wal - before.wal) / tasks / 1024, 2),
        }
        if claims:
            row |= {"claims": int(claims), "ms a claim": round((self.claim_s - before.claim_s) / claims * 1e3, 1)}
        return row


class Meter:
    def __init__(self, stack: Stack, port: int) -> None:
        self._stack = stack
        self._ports = [port]
        self._others: list[Process] = []

    def add(self, other: Process, port: int) -> None:
        self._others.append(other)
        self._ports.append(port)

    async def read(self) -> Reading:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Reading:
        scrapes = [Scrape(port) for port in self._ports]
        claims, claim_s = (
            sum(scrape(f"contentgen_lane_group_seconds_{part}", lane="claims") for scrape in scrapes)
            for part in ("count", "sum")
        )
        return Reading(time.monotonic(), self._cpu(), self._stack.wal(), claims, claim_s)

    def _cpu(self) -> Cpu:
        cpu = self._stack.cpu()
        return cpu + Cpu(sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in self._others), 0.0)


BATCH = 500


@asynccontextmanager
async def warm(folder: Path, sizes: Sizes, **settings: str) -> AsyncIterator[tuple[Stack, Meter]]:
    """Yields a scheduler on an empty database with warm WAL."""
    port = free_port()
    metrics = {"metrics_listen": f"127.0.0.1:{port}", **settings}
    async with fresh(Options(folder), **metrics) as stack:
        if not sizes.quick:
            await asyncio.to_thread(stack.warm_wal)
        yield stack, Meter(stack, port)


async def load(stack: Stack, meter: Meter, tasks: int) -> dict[str, Value]:
    start = await meter.read()
    span = await scenario.load(stack, tasks, batch=min(BATCH, tasks), in_flight=IN_FLIGHT)
    row = (await meter.read()).used(start, tasks, start.at + span.end - span.begin)
    return {name: value for name, value in row.items() if "claim" not in name}


@asynccontextmanager
async def waiting_workers(stack: Stack, count: int, targets: Sequence[str] = ()) -> AsyncIterator[Fleet]:
    """Yields so many workers, connected, that get nothing before `drain`, and then hold 4,000 leases together."""
    async with AsyncContentGenerationClient(stack.target) as client:
        await client.pause_dispatch()
    targets = targets or [stack.target] * 2
    async with scenario.noop_workers(stack, count, max(1, 4_000 // count), targets=targets) as fleet:
        fleet.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            while stack.query("SELECT count(*) FROM workers WHERE connected") < count:  # noqa: ASYNC110 - it rings no bell
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)  # their first heartbeats
        yield fleet


async def drain(stack: Stack, meter: Meter, fleet: Fleet, tasks: int) -> dict[str, Value]:
    """Lets the workers complete at least so many more; a row."""
    async with AsyncContentGenerationClient(stack.target) as client:
        await client.pause_dispatch()  # as it is: so the client is connected
        start, done = await meter.read(), fleet.completed
        await client.resume_dispatch()
        end = await fleet.reach(done + tasks)
        end_values = await meter.read()
        await client.pause_dispatch()
    return end_values.used(start, tasks, end)
