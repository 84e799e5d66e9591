"""What the check does in the simulation: the same that `check` does with the real system. The medians of some seeds.

Part of `lab.simulation`.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import replace

from lab.simulation.calibration import REST_S, SETTLE_S, Shape
from lab.simulation.costs import Costs
from lab.simulation.fleet import Arrivals, ClosedLoop, NoopWorker, Worker
from lab.simulation.system import SimulatedCell

STEP = 0.01
LIMIT = 600.0


def medians(run: Callable[[], list[float]], seed: int) -> list[float]:
    results = []
    for number in range(3):
        random.seed(seed + number)
        results.append(run())
    return [statistics.median(column) for column in zip(*results, strict=True)]


def drain(costs: Costs, shape: Shape, others: float) -> list[float]:
    """Returns the tasks a second of load and drain, and the drain's CPU seconds a task: scheduler, PostgreSQL."""
    cell = SimulatedCell(replace(costs, others=others))
    load = ClosedLoop(cell.around("loader"), cell.addresses[0], shape.tasks, shape.batch, shape.in_flight)
    until(cell, lambda: cell.database.stored >= shape.tasks)
    begin, used = cell.clock.now, cell.used()
    for number in range(shape.workers):
        NoopWorker(cell.around(f"worker {number}"), cell.addresses, shape.depth).connect()
    until(cell, lambda: cell.database.completed >= shape.tasks)
    scheduler, postgres = (b - a for a, b in zip(used, cell.used(), strict=True))
    rate = shape.tasks / (cell.clock.now - begin)
    return [shape.tasks / load.ended_at, rate, scheduler / shape.tasks, postgres / shape.tasks]


def until(cell: SimulatedCell, done: Callable[[], bool]) -> None:
    while not done():
        assert cell.clock.now < LIMIT, "the simulated system can't do it"
        cell.clock.run(cell.clock.now + STEP)


def latencies(costs: Costs, rate: float, seconds: float, others: float) -> list[float]:
    """Returns seconds from submit to worker, at p50 and p99, and CPU seconds a task: scheduler, PostgreSQL."""
    cell = SimulatedCell(replace(costs, others=others))
    client = cell.around("client")
    NoopWorker(client, cell.addresses, depth=200).connect()
    cell.clock.run(SETTLE_S)
    load, used = Arrivals(client, cell.addresses, rate), cell.used()
    cell.clock.run(SETTLE_S + seconds)
    percentiles = spread(load.latencies)[:2]
    return [*percentiles, *((b - a) / len(load.latencies) for a, b in zip(used, cell.used(), strict=True))]


def capacity(costs: Costs) -> float:
    """Returns single submits a second, with 64 in flight and a worker that completes them."""
    cell = SimulatedCell(costs)
    client = cell.around("client")
    NoopWorker(client, cell.addresses, depth=200).connect()
    cell.clock.run(SETTLE_S)
    ClosedLoop(client, cell.addresses[0], 1_000_000, 1, 64)
    cell.clock.run(2 * SETTLE_S)
    completed = cell.database.completed
    cell.clock.run(3 * SETTLE_S)
    return (cell.database.completed - completed) / SETTLE_S


def _fleet(costs: Costs, workers: int, schedulers: int) -> tuple[SimulatedCell, list[Worker]]:
    cell = SimulatedCell(costs, schedulers=schedulers, yielding=True)
    surroundings = cell.around("workers")
    fleet = [Worker(surroundings, cell.addresses, number) for number in range(workers)]
    for number, worker in enumerate(fleet):
        cell.clock.after(number / 100.0, worker.connect)
    until(cell, lambda: all(worker.session for worker in fleet))
    cell.clock.run(cell.clock.now + SETTLE_S)
    return cell, fleet


def rest(costs: Costs, workers: int, others: float) -> list[float]:
    """Returns the cores that an idle fleet keeps busy: the scheduler's, PostgreSQL's."""
    cell, _ = _fleet(replace(costs, others=others), workers, 1)
    used = cell.used()
    cell.clock.run(cell.clock.now + REST_S)
    return [(b - a) / REST_S for a, b in zip(used, cell.used(), strict=True)]


def restart(costs: Costs, workers: int, down: float, others: float) -> list[float]:
    """Returns the seconds from the restart until workers are connected again: half of them, 99%, all."""
    cell, fleet = _fleet(replace(costs, others=others), workers, 1)
    cell.clock.run(cell.clock.now + REST_S)
    scheduler = cell.addresses[0].scheduler
    assert scheduler
    scheduler.kill()
    cell.clock.run(cell.clock.now + down)
    served = cell.clock.now
    cell.start(cell.addresses[0])
    until(cell, lambda: all(worker.session for worker in fleet))
    return spread([worker.connected_at - served for worker in fleet])


def survivor(costs: Costs, workers: int, others: float) -> list[float]:
    """Returns the seconds from the kill of one of two schedulers until its workers are connected to the other one."""
    cell, fleet = _fleet(replace(costs, others=others), workers, 2)
    cell.clock.run(cell.clock.now + REST_S)
    scheduler = cell.addresses[0].scheduler
    assert scheduler
    reconnected = [session.worker for session in scheduler.sessions.values()]
    begin = cell.clock.now
    scheduler.kill()
    until(cell, lambda: all(worker.session for worker in fleet))
    return spread([worker.connected_at - begin for worker in reconnected])


def spread(seconds: list[float]) -> list[float]:
    ordered = sorted(seconds)
    return [ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]]
