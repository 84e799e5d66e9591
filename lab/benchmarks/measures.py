"""The measures, by name. Each starts a scheduler on a fresh folder, and returns its figures."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks import attacked, committers, console, floors, goals, growth, scaling, scenario, watched
from lab.benchmarks.child import Child
from lab.benchmarks.folders import make_folder
from lab.benchmarks.goals import Figure, Floor, Goal
from lab.benchmarks.latencies import Latencies, latencies
from lab.benchmarks.stack import Stack

MAX_PENDING_TASKS = 10_000_000
IN_FLIGHT = 4
"""Batches that are submitted at once."""
QUIET_S = 3.0
"""For what is left of a start (checkpoints, statistics), before something at rest is measured."""
REST_S = 20.0
"""Two heartbeats of each worker; a backend's statistics may come ten seconds late."""
SETTLE_S = 25.0
"""Until nothing is left of a start, such as statistics that come late."""


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of a run."""

    folder: Path
    workers: int
    depth: int
    accounts: int
    batch: int
    submits: int
    batch_submits: int
    drains: tuple[int, ...]
    lives: int
    end_to_end: int
    burst: int
    samples: int
    idle_workers: int
    committers: int
    ended: int
    pool: int
    moves: int
    fleets: tuple[int, ...]
    leases: int
    passing: int
    backlog: int
    console_tasks: int
    many_accounts: int
    unread_watches: int


@asynccontextmanager
async def fresh(options: Options, accounts: int | None = None, **settings: str) -> AsyncIterator[Stack]:
    """A scheduler on an empty database."""
    folder = make_folder(options.folder, "run-")
    settings = {"max_queue_size": str(MAX_PENDING_TASKS), **settings}
    async with Stack(folder, accounts or options.accounts, **settings) as stack:
        yield stack
    shutil.rmtree(folder)  # after a failure it stays: its logs say why


@asynccontextmanager
async def warmed(options: Options, accounts: int | None = None) -> AsyncIterator[tuple[Stack, Floor]]:
    """The same with warm WAL, and what PostgreSQL does by itself there."""
    async with fresh(options, accounts) as stack:
        await asyncio.to_thread(stack.warm_wal)
        yield stack, await _lives(stack, options)


async def _lives(stack: Stack, options: Options) -> Floor:
    return Floor(await asyncio.to_thread(floors.lives_per_second, stack, options.lives), floors.LIVES_PER_SECOND)


async def batch_submit(options: Options) -> list[Figure]:
    async with warmed(options) as (stack, floor):
        span = await scenario.load(stack, options.batch_submits, batch=options.batch, in_flight=IN_FLIGHT)
    return [_rate(f"BatchSubmitTasks of {options.batch}", span, goals.BATCH_SUBMIT, floor)]


async def submit(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        before = await floors.unary_per_second(stack)
        span = await scenario.load(stack, options.submits, batch=1, in_flight=64)
        after = await floors.unary_per_second(stack)
    floor = Floor((before + after) / 2, floors.UNARY_PER_SECOND)
    return [_rate("SubmitTask, 64 in flight", span, goals.SUBMIT, floor)]


async def drain(options: Options) -> list[Figure]:
    return [await _drain_of(options, size) for size in options.drains]


async def cold_drain(options: Options) -> list[Figure]:
    """The first hour of a database: each WAL segment is made anew."""
    async with fresh(options) as stack:
        return [await _drained(stack, await _lives(stack, options), options, options.drains[0], ", cold WAL")]


async def _drain_of(options: Options, size: int) -> Figure:
    async with warmed(options) as (stack, floor):
        return await _drained(stack, floor, options, size)


async def _drained(stack: Stack, floor: Floor, options: Options, size: int, suffix: str = "") -> Figure:
    _, span = await load_and_drain(stack, options, size)
    scenario.check(stack, size)
    return _rate(f"drain, backlog {size:,}{suffix}", span, goals.DRAIN, floor)


async def load_and_drain(stack: Stack, options: Options, size: int) -> tuple[scenario.Span, scenario.Span]:
    """Loads first, so that the workers find all of the backlog."""
    loaded = await scenario.load(stack, size, batch=min(options.batch, size), in_flight=IN_FLIGHT)
    async with scenario.noop_workers(stack, options.workers, options.depth) as workers:
        return loaded, await scenario.drain(stack, workers, size)


async def backlog(options: Options) -> list[Figure]:
    """The rate of a long backlog against that of a short one."""
    short, long = [await _drain_of(options, size) for size in (options.drains[0], options.backlog)]
    note = f"{long.value:,.0f} tasks/s, {long.note}; of {short.count:,} {short.value:,.0f} tasks/s, {short.note}"
    name = f"drain of {long.count:,} against {short.count:,}"
    return [Figure(name, long.value / short.value, "times", long.count, goals.BACKLOG, note)]


async def many_accounts(options: Options) -> list[Figure]:
    """Tasks of many accounts, one after the other, against tasks of few."""
    spans = []
    for accounts in (options.accounts, options.many_accounts):
        async with warmed(options, accounts) as (stack, _):
            spans.append(await load_and_drain(stack, options, options.drains[0]))
    smaller, larger = spans
    name = f"over {options.many_accounts:,} accounts against {options.accounts:,}"
    return [
        _comparison(f"BatchSubmitTasks {name}", smaller[0], larger[0], goals.MANY_ACCOUNTS),
        _comparison(f"drain {name}", smaller[1], larger[1], goals.MANY_ACCOUNTS),
    ]


def _comparison(name: str, smaller: scenario.Span, larger: scenario.Span, goal: Goal) -> Figure:
    note = f"{larger.per_second:,.0f} tasks/s, {larger.cpu_note}; {smaller.per_second:,.0f} tasks/s, {smaller.cpu_note}"
    return Figure(name, larger.per_second / smaller.per_second, "times", larger.tasks, goal, note)


async def end_to_end(options: Options) -> list[Figure]:
    size = options.end_to_end
    async with (
        warmed(options) as (stack, floor),
        scenario.noop_workers(stack, options.workers, options.depth) as workers,
    ):
        async with scenario.loader(stack, size, batch=options.batch, in_flight=IN_FLIGHT) as loader:
            loader.go()
            span = await scenario.drain(stack, workers, size)
        scenario.check(stack, size)
    return [_rate("end to end, batches coming in", span, goals.END_TO_END, floor)]


def _rate(name: str, span: scenario.Span, goal: Goal, floor: Floor | None = None) -> Figure:
    return Figure(name, span.per_second, "tasks/s", span.tasks, goal, span.cpu_note, floor)


async def latency(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        await asyncio.sleep(QUIET_S)
        samples = await latencies(stack, options.samples)
    return _percentiles("idle, submit to worker", samples, goals.IDLE_P50_MS, goals.IDLE_P99_MS)


async def latency_after_burst(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        await load_and_drain(stack, options, options.burst)
        samples = await latencies(stack, options.samples)
    name = f"the same right after {options.burst:,} tasks"
    return _percentiles(name, samples, goals.AFTER_BURST_P50_MS, goals.AFTER_BURST_P99_MS)


def _percentiles(name: str, samples: Latencies, p50: Goal, p99: Goal) -> list[Figure]:
    count, note = len(samples.measured), f"the longest {samples.measured[-1]:.1f} ms"
    floor = Floor(samples.floor[count // 2], floors.UNARY_MS)
    return [
        Figure(f"{name}, p50", samples.p50, "ms", count, p50, note, floor),
        Figure(f"{name}, p99", samples.p99, "ms", count, p99, note, floor),
    ]


async def under_attack(options: Options) -> list[Figure]:
    async with fresh(options) as stack, fresh(options) as neighbour:
        await asyncio.sleep(QUIET_S)
        return await attacked.figures(stack, neighbour, options.samples)


async def idle_workers(options: Options) -> list[Figure]:
    count = options.idle_workers
    async with (
        fresh(options) as stack,
        Child("idle_workers", stack.folder, "idle_workers", target=stack.target, count=count),
    ):
        await asyncio.sleep(QUIET_S)
        before, begin = stack.cpu(), time.monotonic()
        await asyncio.sleep(REST_S)
        cpu, seconds = stack.cpu() - before, time.monotonic() - begin
        rss = stack.rss()
    note = f"PostgreSQL {cpu.postgres / seconds:.1%} of a core"
    return [
        Figure(f"{count:,} idle workers, the scheduler's memory", rss / 1e6, "MB", count, goals.IDLE_WORKERS_MB),
        Figure("the same, its CPU", cpu.scheduler / seconds * 100, "% of a core", count, goals.IDLE_WORKERS_CPU, note),
    ]


async def idle_fleet(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await scaling.idle_fleet(stack, (2, *options.fleets), options.samples)


async def hello(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await scaling.hellos(stack, options.leases, options.samples)


async def open_transaction(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await scaling.open_transaction(stack, options.passing, options.workers, options.depth, options.samples)


async def at_rest(options: Options) -> list[Figure]:
    committed = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    async with fresh(options) as stack, scenario.noop_workers(stack, options.workers, options.depth) as workers:
        for worker in workers:
            worker.go()
        await asyncio.sleep(SETTLE_S)
        before, begin = stack.query(committed), time.monotonic()
        await asyncio.sleep(REST_S)
        commits, seconds = stack.query(committed) - before - 1, time.monotonic() - begin  # less the question's own
    note = f"transactions, with {options.workers} idle workers"
    return [Figure("at rest", commits / seconds, "queries/s", options.workers, goals.AT_REST_QUERIES, note)]


async def notify(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await committers.figures(stack.url, options.committers)


async def retention(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await asyncio.to_thread(growth.of_retention, stack.url, options.ended)


async def worker_pool(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await asyncio.to_thread(growth.of_workers, stack.url, stack.target, options.pool)


async def account_watch(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await asyncio.to_thread(growth.of_moves, stack.url, options.moves)


async def unread_watches(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        await asyncio.sleep(QUIET_S)
        return await watched.figures(stack, options.unread_watches, options.samples)


async def console_pages(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await console.figures(stack, options.console_tasks, options.samples, options.workers, options.depth)


MEASURES: dict[str, Callable[[Options], Awaitable[list[Figure]]]] = {
    "batch-submit": batch_submit,
    "submit": submit,
    "drain": drain,
    "cold-drain": cold_drain,
    "many-accounts": many_accounts,
    "end-to-end": end_to_end,
    "latency": latency,
    "latency-after-burst": latency_after_burst,
    "idle-workers": idle_workers,
    "at-rest": at_rest,
    "notify": notify,
    "retention": retention,
    "worker-pool": worker_pool,
    "account-watch": account_watch,
    "unread-watches": unread_watches,
    "idle-fleet": idle_fleet,
    "hello": hello,
    "open-transaction": open_transaction,
    "backlog": backlog,
    "under-attack": under_attack,
    "console": console_pages,
}

USUAL = [name for name in MEASURES if name not in {"under-attack", "backlog", "console"}]
"""What is measured where nothing is named; backlog and console take many minutes."""
