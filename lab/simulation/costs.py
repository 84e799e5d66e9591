"""What the real system was measured to cost, as `costs.json` has it, and what that allows. All times are in seconds.

That file also has, under `measured`, what the costs were derived from: microseconds and bytes a task, and for each lane
its transactions, their items and their seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.stack import Cpu
from scheduler_svc.config.settings import MAX_HEARTBEAT_INTERVAL

_KEPT = Path(__file__).with_name("costs.json")


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU by what causes it; of a transaction beside what its items cost."""

    call: Cpu
    """A SubmitTask or BatchSubmitTasks, beside its tasks and its transaction."""
    task: Cpu
    task_ahead: float
    """What of it the scheduler does before the transaction, while another one may run: decoding, checks."""
    submits: Cpu
    """A transaction of the submit lane, with what else it causes: its signals, the answers."""
    submit_inside: float
    """The share of it in which the lane's thread waits for it; the rest goes on beside it."""
    claims: Cpu
    """A transaction of the claim, with what else it causes: the assignment, its signals."""
    claim_inside: float
    reports: Cpu
    """A transaction of a report lane, with what else it causes."""
    report_inside: float
    message: Cpu
    """A worker's report, or a heartbeat with leases, and its answer."""
    run: Cpu
    """A task from its claim to its stored result."""
    heartbeat: Cpu
    """A heartbeat of an idle worker, with its share of a transaction."""
    hello: Cpu
    """A hello on a new connection, to its welcome, while many others wait."""
    rest: Cpu
    """A second in which nothing happens."""
    client_call: float
    """CPU of a client's process: a call."""
    client_task: float
    """A task in it."""
    worker_run: float
    """CPU of a worker's process: a task from its assignment to the acknowledgement."""
    worker_message: float
    """A message that a worker sends, and its answer."""
    dial: float
    """A connection with its hello."""
    refused: float
    """An attempt to connect where nobody listens."""
    submit_wait: float
    """What a transaction of the submit lane takes longer than its CPU on an idle machine: flush, round trips."""
    claim_wait: float
    report_wait: float
    hello_wait: float
    notice: float
    """What an idle submit-to-worker takes longer than its parts: what wakes up, on the way between the processes."""
    stream_bytes: float
    """Memory of the scheduler a connected worker."""
    task_wal: float
    """Bytes of WAL: a submitted task, in batches of 500."""
    single_wal: float
    """A task submitted by a call of its own, 32 in flight."""
    run_wal: float
    """A task from claim to stored result, 2,000 leases a worker."""
    heartbeat_wal: float
    """A heartbeat of an idle worker."""
    others: float
    """Cores that other processes of the machine used meanwhile."""


def load() -> Costs:
    document = json.loads(_KEPT.read_text())["costs"]
    costs: dict[str, Any] = {
        name: Cpu(**value) if isinstance(value, dict) else value for name, value in document.items()
    }
    return Costs(**costs)


USABLE = 0.8
"""Of the cores, and of a scheduler's process: the rest keeps waits short."""
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
    cpu: Cpu
    wal: float


def mixes(costs: Costs) -> list[Mix]:
    """Returns bulk (batches of 500, workers with hundreds of leases) and singles (a call and four messages a task)."""
    bulk = costs.call * (1 / 500) + costs.submits * 1e-3 + costs.task + costs.run + costs.claims * 1e-3
    submit = costs.call + costs.submits * (1 / GROUP) + costs.task
    steps = costs.message * MESSAGES + costs.reports * (MESSAGES / GROUP) + costs.claims * (1 / GROUP) + costs.run
    return [
        Mix("batches of 500, deep queues", bulk, costs.task_wal + costs.run_wal),
        Mix("one by one", submit + steps, costs.single_wal + costs.run_wal),
    ]


def ceilings(costs: Costs) -> Iterator[dict[str, float | str]]:
    """Yields for each mix and each number of cores: tasks a second, and what that takes."""
    for mix in mixes(costs):
        for cores in (4, 16, 64):
            rate = USABLE * cores / mix.cpu.total
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
                "idle workers instead": USABLE * cores / (costs.heartbeat.total / MAX_HEARTBEAT_INTERVAL),
            }
