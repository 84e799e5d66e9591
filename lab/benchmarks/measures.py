"""The measures, by name. Each starts a scheduler on a fresh folder, and returns its figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks import console as pages
from lab.benchmarks import floors, goals, scenario
from lab.benchmarks.attacker import ATTACKS, IDLING
from lab.benchmarks.child import Child
from lab.benchmarks.command import lent_folder, size
from lab.benchmarks.goals import Figure, Floor, Goal
from lab.benchmarks.latencies import QUIET_S, Latencies, latencies
from lab.benchmarks.stack import Stack

MAX_PENDING_TASKS = 10_000_000
IN_FLIGHT = 4
"""Batches that are submitted at once."""
_REST_S = 20.0
"""Two heartbeats of each worker; a backend's statistics may come ten seconds late."""
_ATTACK_S = 2.0
"""For an attack to be under way, and to be over."""
_ATTACKER = "benchmarks.attacker.attack_scheduler"


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of a run: the command's options."""

    folder: Path
    workers: int = size(2, "no-op workers")
    depth: int = size(2000, "leases that each of them holds at most")
    accounts: int = size(4, "accounts that the tasks are of, in turn")
    batch: int = size(500, "tasks in a BatchSubmitTasks")
    batch_submits: int = size(100_000, "tasks of the measure batch-submit")
    submits: int = size(10_000, "tasks of the measure submit")
    drain: tuple[int, ...] = size((20_000, 100_000), "backlogs to drain, by comma")
    lives: int = size(20_000, "tasks of a drain's floor")
    end_to_end: int = size(60_000, "tasks of the measure end-to-end")
    burst: int = size(250_000, "tasks that latency-after-burst drains first")
    samples: int = size(300, "samples of a latency")
    idle_workers: int = size(1000, "workers of the measure idle-workers")
    console_tasks: int = size(1_000_000, "tasks beside which console is measured")


Measure = Callable[[Options], Awaitable[list[Figure]]]


@asynccontextmanager
async def fresh(options: Options, **settings: str) -> AsyncIterator[Stack]:
    settings = {"max_queue_size": str(MAX_PENDING_TASKS), **settings}
    with lent_folder(options.folder, "run-") as folder:
        async with Stack(folder, options.accounts, **settings) as stack:
            yield stack


@asynccontextmanager
async def warmed(options: Options) -> AsyncIterator[tuple[Stack, Floor]]:
    """Yields the same with warm WAL, and what PostgreSQL does by itself there."""
    async with fresh(options) as stack:
        await asyncio.to_thread(stack.warm_wal)
        yield stack, await _lives(stack, options)


async def _lives(stack: Stack, options: Options) -> Floor:
    span = await asyncio.to_thread(floors.lives, stack, options.lives)
    return Floor(span.per_second, floors.LIVES_PER_SECOND)


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
    figures = []
    for tasks in options.drain:
        async with warmed(options) as (stack, floor):
            figures.append(await _drained(stack, floor, options, tasks))
    return figures


async def cold_drain(options: Options) -> list[Figure]:
    """Measures the first hour of a database: each WAL segment is made anew."""
    async with fresh(options) as stack:
        return [await _drained(stack, await _lives(stack, options), options, options.drain[0], ", cold WAL")]


async def _drained(stack: Stack, floor: Floor, options: Options, tasks: int, suffix: str = "") -> Figure:
    _, span = await load_and_drain(stack, options, tasks)
    scenario.check(stack, tasks)
    return _rate(f"drain, backlog {tasks:,}{suffix}", span, goals.DRAIN, floor)


async def load_and_drain(stack: Stack, options: Options, tasks: int) -> tuple[scenario.Span, scenario.Span]:
    """Loads first, so that the workers find all of the backlog."""
    loaded = await scenario.load(stack, tasks, batch=min(options.batch, tasks), in_flight=IN_FLIGHT)
    async with scenario.noop_workers(stack, options.workers, options.depth) as workers:
        return loaded, await scenario.drain(stack, workers, tasks)


async def end_to_end(options: Options) -> list[Figure]:
    tasks = options.end_to_end
    async with (
        warmed(options) as (stack, floor),
        scenario.noop_workers(stack, options.workers, options.depth) as workers,
    ):
        async with scenario.loader(stack, tasks, batch=options.batch, in_flight=IN_FLIGHT) as loader:
            loader.go()
            span = await scenario.drain(stack, workers, tasks)
        scenario.check(stack, tasks)
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


async def idle_workers(options: Options) -> list[Figure]:
    count = options.idle_workers
    async with fresh(options) as stack, scenario.noop_workers(stack, count, 4, targets=[stack.target]) as workers:
        await scenario.connect(stack, workers, count)
        await asyncio.sleep(QUIET_S)
        before, begin = stack.cpu(), time.monotonic()
        await asyncio.sleep(_REST_S)
        cpu, seconds = stack.cpu() - before, time.monotonic() - begin
        rss = stack.rss()
    note = f"PostgreSQL {cpu.postgres / seconds:.1%} of a core"
    return [
        Figure(f"{count:,} idle workers, the scheduler's memory", rss / 1e6, "MB", count, goals.IDLE_WORKERS_MB),
        Figure("the same, its CPU", cpu.scheduler / seconds * 100, "% of a core", count, goals.IDLE_WORKERS_CPU, note),
    ]


async def at_rest(options: Options) -> list[Figure]:
    committed = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    count = options.workers
    async with fresh(options) as stack, scenario.noop_workers(stack, count, options.depth) as workers:
        workers.go()
        await asyncio.sleep(25.0)  # nothing is left of a start then, such as statistics that come late
        before, begin = stack.query(committed), time.monotonic()
        await asyncio.sleep(_REST_S)
        commits, seconds = stack.query(committed) - before - 1, time.monotonic() - begin  # less the question's own
    note = f"transactions, with {count} idle workers"
    return [Figure("at rest", commits / seconds, "queries/s", count, goals.AT_REST_QUERIES, note)]


async def under_attack(options: Options) -> list[Figure]:
    """p99 of a submit's way to its worker; in the note that of a neighbour on this machine, which nobody attacks.

    What the neighbour suffers is the machine's doing: an attacker and the server that reads it take its cores.
    """
    async with fresh(options) as stack, fresh(options) as neighbour:
        await asyncio.sleep(QUIET_S)
        quiet = [await latencies(target, options.samples) for target in (stack, neighbour)]
        results = [_attack_figure("quiet", quiet, quiet)]
        for attack in (IDLING, *ATTACKS):
            name, port = attack.replace(" ", "-").replace(",", ""), int(stack.target.rpartition(":")[2])
            async with Child(_ATTACKER, stack.folder, name, port=port, attack=attack) as attacker:
                attacker.go()
                await asyncio.sleep(_ATTACK_S)
                targets = (stack, neighbour)
                attacked = [await latencies(target, options.samples, f"beside-{name}") for target in targets]
                results.append(_attack_figure(attack, attacked, quiet))
            await asyncio.sleep(_ATTACK_S)
        return results


def _attack_figure(attack: str, latencies_now: Sequence[Latencies], quiet: Sequence[Latencies]) -> Figure:
    ratio, neighbours = (now.p99 / former.p99 for now, former in zip(latencies_now, quiet, strict=True))
    note = f"{ratio:.1f} times the quiet one; a neighbour's that is not attacked {neighbours:.1f} times"
    attacked = latencies_now[0]
    return Figure(f"submit to worker under {attack}, p99", attacked.p99, "ms", len(attacked.measured), note=note)


async def console(options: Options) -> list[Figure]:
    async with fresh(options) as stack:
        return await pages.figures(stack, options.console_tasks, options.samples, options.workers, options.depth)


MEASURES: dict[str, Measure] = {
    "batch-submit": batch_submit,
    "submit": submit,
    "drain": drain,
    "cold-drain": cold_drain,
    "end-to-end": end_to_end,
    "latency": latency,
    "latency-after-burst": latency_after_burst,
    "idle-workers": idle_workers,
    "at-rest": at_rest,
    "under-attack": under_attack,
    "console": console,
}

USUAL = [name for name in MEASURES if name not in {"under-attack", "console"}]
"""What is measured where nothing is named; console takes many minutes."""
