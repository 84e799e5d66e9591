"""What may go wrong in a model, and what has to hold all the same in each of its states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.model.process import Process, named
from lab.model.tables import SETTINGS, Tables, TaskRecord
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import OPEN

FAULTS = (
    "cut", "partition", "kill", "replica", "outage", "slow", "suspend", "jump", "stand",
    "cancel", "timeout", "fail", "ill", "defer", "retry", "limit",
)  # fmt: skip
"""What a scenario may let happen, each so many times."""

OF_A_WORKER = ("cut", "partition", "kill", "replica", "suspend", "fail", "ill", "defer")
"""Those of them that befall one of the workers, or its stream."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """How large a model is, and what may go wrong in it."""

    name: str
    shows: str
    faults: dict[str, int] = field(default_factory=dict)
    workers: int = 1
    rival: bool = False
    """Whether there is another worker, at its best: what it says and hears takes no time, and nothing befalls it."""
    one_replica: bool = False
    """Whether a worker's streams, present and former, are the same replica's, whose claims are for both."""
    slots: int = 1
    tasks: int = 1
    max_retries: int = 0
    limits: tuple[int, ...] = (0,)
    """How many tasks of their account may run at a time: first, and as clients change it later. 0 is no limit."""
    loses_nothing: bool = False
    """Whether none of its faults may cost a run or a result."""


TWO_RESULTS = "a task has two accepted results"
SUPERSEDED = "a result of a superseded lease was accepted"
REFUSED = "a result of the newest lease was refused, although only time had ended that lease"
OUTLIVES = "a CLI runs on a lease that has ended in the database"
TWO_RUNS = "two CLIs run for one task"
OVERFULL = "a worker was granted more leases than it had stated capacity for"
DEFERRALS = "a task was deferred more often in a row than it may be"
RETRIES = "a task was retried more often than it may be"
OVER_LIMIT = "an account got more leases than its limit"
LOST_RUN = "an outage cost a run"


def wrong(scenario: Scenario, tables: Tables, processes: Sequence[Process], rival: Sequence[LeaseRef]) -> str | None:
    """Returns the first property that does not hold; None where all do."""
    if tables.broken:
        return tables.broken
    if tables.over_limit:
        return OVER_LIMIT
    for task in tables.tasks.values():
        if (problem := _wrong_task(scenario, task)) is not None:
            return problem
    return _wrong_runs(tables, processes, rival)


def _wrong_task(scenario: Scenario, task: TaskRecord) -> str | None:
    if len(task.accepted) > 1:
        return TWO_RESULTS
    if task.superseded:
        return SUPERSEDED
    if task.refused:
        return REFUSED
    if task.retry_count > task.max_retries or task.failures > task.max_retries + 1:
        return RETRIES
    if task.deferrals >= SETTINGS.max_deferrals:
        return DEFERRALS
    return LOST_RUN if scenario.loses_nothing and task.losses else None


def _wrong_runs(tables: Tables, processes: Sequence[Process], rival: Sequence[LeaseRef]) -> str | None:
    task_keys = {named(lease.ref)[0] for lease in tables.leases.values()}
    running = [lease_id for process in processes if process.awake for lease_id in process.running]
    if not task_keys.issuperset(running):
        return OUTLIVES
    tasks = [lease_id.split("-")[1] for lease_id in (*running, *(named(ref)[0] for ref in rival))]
    if len(set(tasks)) < len(tasks):
        return TWO_RUNS
    return OVERFULL if any(process.overfull for process in processes) else None


def settled(tables: Tables, processes: Sequence[Process]) -> bool:
    """Returns whether every task has ended, and no worker holds anything."""
    if not tables.up or tables.leases or any(task.status in OPEN for task in tables.tasks.values()):
        return False
    return not any(len(process.book) or process.spool for process in processes)
