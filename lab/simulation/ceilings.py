"""What a machine of so many cores carries by CPU alone: an estimate from the costs, without queues or locks.

Part of `lab.simulation`. Schedulers and PostgreSQL share the cores; clients and workers are elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lab.simulation.costs import Costs, Part
from scheduler_svc.config.settings import MAX_HEARTBEAT_INTERVAL

USABLE = 0.8
"""Of the cores, and of a scheduler's process: the rest keeps waits short."""
CORES = (4, 16, 64)
CONNECTIONS = 27
"""Of a replica, at most: `scheduler_svc/replica/pools.py`."""
MESSAGES = 4
"""Of a task that takes a slot for a while: accepted, processing, completed, and a heartbeat."""
GROUP = 10.0
"""Items of a transaction under load, where they come one by one."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What a task of such a load costs: CPU, bytes of WAL."""

    name: str
    cpu: Part
    wal: float


def mixes(costs: Costs) -> list[Mix]:
    """Bulk: batches of 500, and workers with hundreds of leases. Singles: a call a task, and four messages of it."""
    bulk = _sum(
        (costs.call, 1 / 500), (costs.submits, 1 / 1_000), (costs.task, 1), (costs.run, 1), (costs.claims, 1e-3)
    )
    steps = _sum(
        (costs.message, MESSAGES), (costs.reports, MESSAGES / GROUP), (costs.claims, 1 / GROUP), (costs.run, 1)
    )
    submit = _sum((costs.call, 1), (costs.submits, 1 / GROUP), (costs.task, 1))
    singles = _sum((submit, 1), (steps, 1))
    return [
        Mix("batches of 500, deep queues", bulk, costs.task_wal + costs.run_wal),
        Mix("one by one", singles, costs.single_wal + costs.run_wal),
    ]


def _sum(*parts: tuple[Part, float]) -> Part:
    return Part(sum(part.scheduler * n for part, n in parts), sum(part.postgres * n for part, n in parts))


def rows(costs: Costs) -> Iterator[dict[str, float | str]]:
    """For each mix and each number of cores: tasks a second, and what that takes."""
    for mix in mixes(costs):
        for cores in CORES:
            rate = USABLE * cores / (mix.cpu.scheduler + mix.cpu.postgres)
            schedulers = math.ceil(rate * mix.cpu.scheduler / USABLE)
            yield {
                "load": mix.name,
                "cores": cores,
                "tasks/s": rate,
                "scheduler, µs a task": mix.cpu.scheduler * 1e6,
                "PostgreSQL, µs a task": mix.cpu.postgres * 1e6,
                "schedulers": schedulers,
                "PostgreSQL's cores in use": rate * mix.cpu.postgres,
                "connections": schedulers * CONNECTIONS,
                "WAL, MB/s": rate * mix.wal / 1e6,
                "idle workers instead": USABLE * cores / _each_idle_worker(costs),
            }


def _each_idle_worker(costs: Costs) -> float:
    """Cores that an idle worker takes."""
    return (costs.heartbeat.scheduler + costs.heartbeat.postgres) / MAX_HEARTBEAT_INTERVAL
