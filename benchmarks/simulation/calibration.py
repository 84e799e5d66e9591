"""Measures on one machine what the real system costs, by a few loads of different shapes, and derives prices from them.

Part of `benchmarks.simulation`. Every load is one that `check` does not repeat: other batches, depths, rates and numbers
of workers, so that the check can fail.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import scenario
from benchmarks.child import Child
from benchmarks.folders import make_folder
from benchmarks.latencies import latencies
from benchmarks.simulation.cell import Cell, Reading
from benchmarks.simulation.costs import Costs, Part
from benchmarks.simulation.fit import prices
from tests.harness.ports import free_port

HEARTBEAT_S = 10.0
SETTLE_S = 3.0
REST_S = 20.0
SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Shape:
    """A load of `tasks` in calls of `batch`, then its drain by `workers` with `depth` leases each.

    `slots` instead of `depth`: workers that run each task for `seconds` and tell of each step.
    """

    tasks: int
    batch: int
    in_flight: int
    workers: int
    depth: int = 0
    slots: int = 0
    seconds: float = 0.0


SHAPES = (
    Shape(1_000, 1, 1, workers=2, depth=8),
    Shape(5_000, 1, 32, workers=2, depth=40),
    Shape(8_000, 10, 4, workers=2, depth=200),
    Shape(20_000, 100, 4, workers=2, depth=600),
    Shape(40_000, 500, 4, workers=2, depth=2_000),
    Shape(2_500, 100, 1, workers=60, slots=2, seconds=0.4),
)
FLEETS = (150, 450)


@dataclass(frozen=True, slots=True)
class Used:
    """What a phase used: the readings' difference, and CPU seconds of the client or the workers."""

    reading: Reading
    children: float

    @property
    def others(self) -> float:
        """Cores that none of these processes used."""
        cpu = self.reading.cpu
        own = cpu.scheduler + cpu.postgres + self.children
        return max(0.0, self.reading.machine - own) / self.reading.at


async def measure(above: Path) -> tuple[Costs, dict[str, Any]]:
    """All costs, and what they were derived from."""
    folder = make_folder(above, "contentgen-simulation-")
    async with Cell(folder) as cell:
        await asyncio.to_thread(cell.warm_wal)
        rest = await _rest(cell)
        phases = [await _phase(cell, shape) for shape in SHAPES]
        scenario.check(cell, sum(shape.tasks for shape in SHAPES))
        idle = await _idle(cell)
        fleets = [await _fleet(cell, count, rest) for count in FLEETS]
        hello_s = await _hello_seconds(cell)
    refused = await _refused(folder)
    shutil.rmtree(folder)
    return _derive(rest, phases, idle, fleets, hello_s, refused)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _cpu_of(children: Sequence[Child]) -> float:
    return sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in children)


@asynccontextmanager
async def fleet(cell: Cell, count: int, *, slots: int = 0, seconds: float = 0.0, prefix: str) -> AsyncIterator[Child]:
    """Real light workers that are ready to connect to all schedulers of the cell."""
    options = {"targets": ",".join(cell.targets), "count": count, "prefix": prefix, "slots": slots, "seconds": seconds}
    async with Child("simulation.fleet_workers", cell.folder, prefix, **options) as one:
        yield one


async def connected(one: Child, count: int) -> list[float]:
    """When each of so many hellos was answered."""
    times: list[float] = []
    async with asyncio.timeout(scenario.PATIENCE_S):
        while len(times) < count:
            told = await one.told()
            if "connected" in told:
                times.append(told["at"])
    return times


async def _rest(cell: Cell) -> Used:
    say("a system at rest")
    await asyncio.sleep(SETTLE_S)
    before = cell.reading()
    await asyncio.sleep(REST_S / 2)
    return Used(cell.reading() - before, 0.0)


async def _phase(cell: Cell, shape: Shape) -> tuple[Used, Used]:
    """What the load and what the drain used."""
    say(f"{shape.tasks} tasks in batches of {shape.batch}, {shape.workers} workers")
    loaded = await submitted(cell, shape)
    return loaded, await (_run(cell, shape) if shape.slots else drained(cell, shape))


async def submitted(cell: Cell, shape: Shape) -> Used:
    async with scenario.loader(cell, shape.tasks, batch=shape.batch, in_flight=shape.in_flight) as loader:
        before = cell.reading()
        loader.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            told = await loader.told()
        return Used(cell.reading() - before, told["cpu"])


async def drained(cell: Cell, shape: Shape) -> Used:
    async with scenario.noop_workers(cell, shape.workers, shape.depth, f"noop-{shape.depth}") as workers:
        own, before = _cpu_of(workers), cell.reading()
        await scenario.drain(cell, workers, shape.tasks)
        return Used(cell.reading() - before, _cpu_of(workers) - own)


async def _run(cell: Cell, shape: Shape) -> Used:
    async with fleet(cell, shape.workers, slots=shape.slots, seconds=shape.seconds, prefix="running") as workers:
        own, before = _cpu_of([workers]), cell.reading()
        workers.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            while (await workers.told()).get("completed") != shape.tasks:
                pass
        used = Used(cell.reading() - before, _cpu_of([workers]) - own)
        await asyncio.sleep(1.0)  # the last reports are on their way
        return used


@dataclass(frozen=True, slots=True)
class Idle:
    """One task after the other on an idle system."""

    reading: Reading
    p50_ms: float


async def _idle(cell: Cell) -> Idle:
    say("one task after the other")
    await asyncio.sleep(SETTLE_S)
    before = cell.reading()
    found = await latencies(cell, SAMPLES)
    return Idle(cell.reading() - before, found.p50)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Idle workers: what connecting them used, and what their heartbeats used in `resting`."""

    workers: int
    connecting: Used
    resting: Used
    memory: float


async def _fleet(cell: Cell, count: int, rest: Used) -> Fleet:
    say(f"{count} idle workers")
    memory = cell.rss()
    async with fleet(cell, count, prefix=f"idle-{count}") as workers:
        own, before = _cpu_of([workers]), cell.reading()
        workers.go()
        await connected(workers, count)
        connecting = Used(cell.reading() - before, _cpu_of([workers]) - own)
        await asyncio.sleep(SETTLE_S)
        own, before = _cpu_of([workers]), cell.reading()
        await asyncio.sleep(REST_S)
        resting = Used(cell.reading() - before, _cpu_of([workers]) - own)
        return Fleet(count, connecting, resting, cell.rss() - memory)


async def _hello_seconds(cell: Cell) -> float:
    say("one hello after the other")
    async with Child("hello_probe", cell.folder, "hello", target=cell.target, worker_id="hello", samples=100) as probe:
        probe.go()
        told = sorted([(await probe.told())["ms"] for _ in range(100)])
    return float(told[50]) / 1e3


async def _refused(folder: Path) -> float:
    """CPU seconds of an attempt to connect where nobody listens."""
    say("connections that are refused")
    options = {"targets": f"127.0.0.1:{free_port()}", "count": 100, "prefix": "refused"}
    async with Child("simulation.fleet_workers", folder, "refused", **options) as workers:
        own = _cpu_of([workers])
        workers.go()
        await asyncio.sleep(SETTLE_S)
        refused = (await workers.ask(how="many"))["refused"]
        return (_cpu_of([workers]) - own) / refused


def _derive(
    rest: Used,
    phases: Sequence[tuple[Used, Used]],
    idle: Idle,
    fleets: Sequence[Fleet],
    hello_s: float,
    refused: float,
) -> tuple[Costs, dict[str, Any]]:
    each_second = _per(rest, rest.reading.at)
    loads = [load for load, _ in phases]
    call, task, submits = _both(each_second, loads, [_submit_counts(s, u) for s, u in zip(SHAPES, loads, strict=True)])
    drains = [drain for _, drain in phases]
    counts = [_drain_counts(s, u) for s, u in zip(SHAPES, drains, strict=True)]
    claims, reports, message, run = _both(each_second, drains, counts)
    resting = [one.resting for one in fleets]
    heartbeats, heartbeat = _both(
        each_second, resting, [(u.reading.groups["reports"].count, u.reading.groups["reports"].items) for u in resting]
    )
    hello = _hello(each_second, fleets, heartbeat)
    client_call, client_task = prices(
        [(s.tasks / s.batch, s.tasks) for s in SHAPES], [used.children for used in loads]
    )
    worker_message, worker_run = prices(
        [(u.reading.groups["reports"].items, s.tasks) for s, u in zip(SHAPES, drains, strict=True)],
        [used.children for used in drains],
    )
    lanes = idle.reading.groups
    submit_s, claim_s, report_s = (lanes[lane].seconds / lanes[lane].count for lane in ("submits", "claims", "reports"))
    costs = Costs(
        call=call,
        task=task,
        submits=submits,
        claims=claims,
        reports=reports,
        message=message,
        run=run,
        heartbeat=heartbeat,
        heartbeats=heartbeats,
        hello=hello,
        rest=each_second,
        client_call=client_call,
        client_task=client_task,
        worker_run=worker_run,
        worker_message=worker_message,
        dial=sum(one.connecting.children for one in fleets) / sum(FLEETS),
        refused=refused,
        submit_wait=max(0.0, submit_s - _sum(submits)),
        claim_wait=max(0.0, claim_s - _sum(claims)),
        report_wait=max(0.0, report_s - _sum(reports)),
        hello_wait=max(0.0, hello_s - _sum(hello)),
        notice=max(0.0, idle.p50_ms / 1e3 - submit_s - claim_s - call.scheduler - client_call - worker_message),
        stream_bytes=sum(one.memory for one in fleets) / sum(FLEETS),
        task_wal=loads[4].reading.wal / SHAPES[4].tasks,
        single_wal=loads[1].reading.wal / SHAPES[1].tasks,
        run_wal=drains[4].reading.wal / SHAPES[4].tasks,
        heartbeat_wal=resting[1].reading.wal / resting[1].reading.groups["reports"].items,
        others=max(0.0, rest.others),
    )
    measured = {
        "loads": [_told(s, u) for s, u in zip(SHAPES, loads, strict=True)],
        "drains": [_told(s, u) for s, u in zip(SHAPES, drains, strict=True)],
        "idle_p50_ms": idle.p50_ms,
        "idle_group_s": [submit_s, claim_s, report_s],
        "hello_s": hello_s,
        "fleets": [
            {"workers": one.workers, "scheduler": one.resting.reading.cpu.scheduler / one.resting.reading.at,
             "postgres": one.resting.reading.cpu.postgres / one.resting.reading.at, "memory": one.memory}
            for one in fleets
        ],
    }
    return costs, measured


def _sum(part: Part) -> float:
    return part.scheduler + part.postgres


def _per(used: Used, count: float) -> Part:
    return Part(used.reading.cpu.scheduler / count, used.reading.cpu.postgres / count)


def _submit_counts(shape: Shape, used: Used) -> tuple[float, ...]:
    return shape.tasks / shape.batch, shape.tasks, used.reading.groups["submits"].count


def _drain_counts(shape: Shape, used: Used) -> tuple[float, ...]:
    lanes = used.reading.groups
    return lanes["claims"].count, lanes["reports"].count, lanes["reports"].items, shape.tasks


def _both(rest: Part, used: Sequence[Used], counts: Sequence[Sequence[float]]) -> list[Part]:
    """The prices of these counts in both, without what goes on at rest."""
    cpu = [one.reading.cpu for one in used]
    seconds = [one.reading.at for one in used]
    scheduler = prices(counts, [c.scheduler - rest.scheduler * s for c, s in zip(cpu, seconds, strict=True)])
    postgres = prices(counts, [c.postgres - rest.postgres * s for c, s in zip(cpu, seconds, strict=True)])
    return [Part(*both) for both in zip(scheduler, postgres, strict=True)]


def _hello(rest: Part, fleets: Sequence[Fleet], heartbeat: Part) -> Part:
    """A hello, without the heartbeat that follows it."""
    hellos, seconds = sum(one.workers for one in fleets), sum(one.connecting.reading.at for one in fleets)
    scheduler = sum(one.connecting.reading.cpu.scheduler for one in fleets) - rest.scheduler * seconds
    postgres = sum(one.connecting.reading.cpu.postgres for one in fleets) - rest.postgres * seconds
    return Part(scheduler / hellos - heartbeat.scheduler, postgres / hellos - heartbeat.postgres)


def _told(shape: Shape, used: Used) -> dict[str, Any]:
    """Microseconds a task, groups, and bytes, for people."""
    reading, tasks = used.reading, shape.tasks
    return {
        "tasks": tasks,
        "batch": shape.batch,
        "per_second": round(tasks / reading.at),
        "scheduler_us": round(reading.cpu.scheduler / tasks * 1e6, 1),
        "postgres_us": round(reading.cpu.postgres / tasks * 1e6, 1),
        "children_us": round(used.children / tasks * 1e6, 1),
        "wal": round(reading.wal / tasks),
        "groups": {lane: [it.count, it.items, round(it.seconds, 3)] for lane, it in reading.groups.items()},
        "others": round(used.others, 3),
    }
