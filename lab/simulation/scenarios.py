"""What the simulation is asked: a cell under load, a fleet on one PostgreSQL, a hundred cells, storms of reconnects.

Part of `lab.simulation`. Each scenario yields rows, as they come; times are simulated. Except in `one_cell`,
schedulers and PostgreSQL have machines of their own, and clients and workers cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.simulation.costs import Costs, ceilings
from lab.simulation.fleet import Arrivals, ClosedLoop, NoopWorker, Surroundings
from lab.simulation.machine import Clock
from lab.simulation.system import RAMP_S, LoadedCell, SimulatedCell, Sizes

Row = dict[str, float | str]

TASKS = 20_000
"""Of a drain."""
SETTLE_S = 3.0
WATCH_S = 10.0
AFTER_S = 300.0
"""For how long what follows a fault is looked at most."""


def one_cell(costs: Costs, _sizes: Sizes) -> Iterator[Row]:
    """Simulates the measured system: two cores for everything, clients and workers too."""
    for depth in (100, 500, 2_000):
        yield _drain(costs, depth)
    capacity = _capacity(costs)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        p50, p99, _ = _spread(_latencies(costs, share * capacity))
        row: Row = {"load": f"single submits, {share:.0%} of {capacity:.0f}/s", "tasks/s": share * capacity}
        yield row | {"p50, ms": p50 * 1e3, "p99, ms": p99 * 1e3}


def _drain(costs: Costs, depth: int) -> Row:
    """Two workers, with so many leases each, complete what was submitted before."""
    cell = SimulatedCell(costs)
    ClosedLoop(cell.around("loader"), cell.addresses[0], TASKS, batch=500, in_flight=4)
    while cell.database.stored < TASKS:
        cell.clock.run(cell.clock.now + 0.01)
    begin, used = cell.clock.now, cell.used()
    for number in range(2):
        NoopWorker(cell.around(f"worker {number}"), cell.addresses, depth).connect()
    while cell.database.completed < TASKS:
        cell.clock.run(cell.clock.now + 0.01)
    scheduler, postgres = ((after - before) / TASKS * 1e6 for before, after in zip(used, cell.used(), strict=True))
    return {
        "load": f"drain, {depth} leases a worker",
        "tasks/s": TASKS / (cell.clock.now - begin),
        "scheduler, µs a task": scheduler,
        "PostgreSQL, µs a task": postgres,
    }


def _with_client(costs: Costs) -> tuple[SimulatedCell, Surroundings]:
    """Returns a cell with a worker that completes tasks at once, in the process of a client."""
    cell = SimulatedCell(costs)
    client = cell.around("client")
    NoopWorker(client, cell.addresses, depth=200).connect()
    cell.clock.run(SETTLE_S)
    return cell, client


def _latencies(costs: Costs, rate: float) -> list[float]:
    """Returns the seconds from submit to worker, at so many single submits a second."""
    cell, client = _with_client(costs)
    load = Arrivals(client, cell.addresses, rate)
    cell.clock.run(SETTLE_S + 20.0)
    return load.latencies


def _capacity(costs: Costs) -> float:
    """Returns how many single submits a second are completed, with 64 in flight."""
    cell, client = _with_client(costs)
    ClosedLoop(client, cell.addresses[0], 1_000_000, batch=1, in_flight=64)
    cell.clock.run(2 * SETTLE_S)
    completed = cell.database.completed
    cell.clock.run(3 * SETTLE_S)
    return (cell.database.completed - completed) / SETTLE_S


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    """Returns the median, that of 99%, and the longest."""
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]


def fleet(costs: Costs, sizes: Sizes) -> Iterator[Row]:
    """Simulates all workers behind n schedulers on one PostgreSQL: what is busy, and whether tasks get through."""
    for cores in sizes.cores:
        for schedulers in sizes.schedulers:
            yield _carried(LoadedCell(costs, sizes, sizes.workers, schedulers, cores)) | {"PostgreSQL's cores": cores}


def _carried(loaded_cell: LoadedCell) -> Row:
    loaded_cell.clock.run(RAMP_S)
    first_load = loaded_cell.load()
    loaded_cell.clock.run(RAMP_S + WATCH_S)
    load = loaded_cell.load() - first_load
    return {
        "schedulers": len(loaded_cell.addresses),
        "connected": loaded_cell.connected / len(loaded_cell.workers),
        "submitted/s": loaded_cell.rate,
        "completed/s": load.completed / WATCH_S,
        "busiest scheduler": load.scheduler / WATCH_S,
        "PostgreSQL's cores in use": load.postgres / WATCH_S,
        "claims/s": load.claims / WATCH_S,
        "submit to worker, p50, s": loaded_cell.latency(),
    }


def storm(costs: Costs, sizes: Sizes) -> Iterator[Row]:
    """A scheduler is started again, one of several dies, PostgreSQL fails over: until all workers are connected."""
    for schedulers in sizes.behind:
        for workers in sizes.fleets:
            yield _after_fault("all schedulers restart", LoadedCell(costs, sizes, workers, schedulers), _restart)
            if schedulers > 1:
                yield _after_fault("one scheduler dies", LoadedCell(costs, sizes, workers, schedulers), _die)
            yield _after_fault("PostgreSQL fails over", LoadedCell(costs, sizes, workers, schedulers), _fail_over)


def _restart(loaded_cell: LoadedCell, sizes: Sizes) -> None:
    loaded_cell.kill_all()
    loaded_cell.clock.run(loaded_cell.clock.now + sizes.restart)
    loaded_cell.start_all()


def _die(loaded_cell: LoadedCell, _: Sizes) -> None:
    loaded_cell.kill(0)


def _fail_over(loaded_cell: LoadedCell, sizes: Sizes) -> None:
    loaded_cell.database.away = True
    loaded_cell.clock.run(loaded_cell.clock.now + sizes.down)
    loaded_cell.database.away = False


def _after_fault(fault: str, loaded_cell: LoadedCell, strike: Callable[[LoadedCell, Sizes], None]) -> Row:
    loaded_cell.clock.run(RAMP_S)
    struck, hellos = loaded_cell.clock.now, loaded_cell.hellos
    strike(loaded_cell, loaded_cell.sizes)
    healed = loaded_cell.clock.now
    loaded_cell.settle(healed + AFTER_S)
    moments = sorted(moment for worker in loaded_cell.workers if (moment := worker.connected_at) > struck)
    seconds = _spread([max(0.0, at - healed) for at in moments]) if moments else (0.0, 0.0, 0.0)
    return {
        "fault": fault,
        "schedulers": len(loaded_cell.addresses),
        "workers": len(loaded_cell.workers),
        "out, s": healed - struck,
        "reconnected": len(moments),
        "half, s": seconds[0],
        "99%, s": seconds[1],
        "all, s": seconds[2] if loaded_cell.connected == len(loaded_cell.workers) else AFTER_S,
        "hellos": loaded_cell.hellos - hellos,
        "runs stopped": loaded_cell.stopped,
    }


def cells(costs: Costs, sizes: Sizes) -> Iterator[Row]:
    """Many cells. One is lost and back later; its clients wait for it, or are sent to the others after a while."""
    for is_moved in (False, True):
        for outage in sizes.outages:
            yield _lost_cell(costs, sizes, outage, moved=is_moved)


def _lost_cell(costs: Costs, sizes: Sizes, outage: float, *, moved: bool) -> Row:
    clock = Clock()
    every = [LoadedCell(costs, sizes, sizes.workers // sizes.cells, 2, clock=clock) for _ in range(sizes.cells)]
    lost_cell, other_cells = every[0], every[1:]
    clock.run(RAMP_S)
    first_load, runs = other_cells[0].load(), lost_cell.held
    struck, submitted = clock.now, lost_cell.arrivals.submitted
    lost_cell.vanish()
    if moved:
        clock.after(sizes.moved_after, lambda: lost_cell.send_clients_to(other_cells))
    clock.run(struck + outage)
    waiting, delayed = lost_cell.arrivals.waiting, lost_cell.arrivals.submitted - submitted
    stopped = lost_cell.stopped
    lost_cell.come_back()
    healed = clock.now
    lost_cell.settle(healed + AFTER_S)
    seconds = _spread([worker.connected_at - healed for worker in lost_cell.workers])
    difference, span = other_cells[0].load() - first_load, clock.now - struck
    return {
        "clients": f"are moved after {sizes.moved_after:.0f} s" if moved else "wait",
        "out, s": outage,
        "runs at the loss": runs,
        "runs stopped": stopped,
        "submitted meanwhile": delayed,
        "submits that wait at its return": waiting,
        "half connected, s": seconds[0],
        "all connected, s": seconds[2],
        "longest submit to worker, s": max(lost_cell.arrivals.latencies, default=0.0),
        "a scheduler elsewhere, cores": difference.scheduler / span,
        "PostgreSQL elsewhere, cores": difference.postgres / span,
    }


SCENARIOS: dict[str, Callable[[Costs, Sizes], Iterator[Row]]] = {
    "one-cell": one_cell,
    "fleet": fleet,
    "cells": cells,
    "storm": storm,
    "ceilings": lambda costs, _: ceilings(costs),  # not simulated: what the costs alone allow
}
