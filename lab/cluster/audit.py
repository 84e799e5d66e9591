"""Whether what was acknowledged is there, once: by the database, read past all of our code; and what is said of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

import psycopg2

from lab.chaos.evidence import Stored
from lab.cluster.faults import Fault, Faults
from lab.cluster.load import Load
from lab.cluster.options import Options
from lab.cluster.patroni import Machines
from lab.deployment.database import Database
from lab.deployment.deployment import every
from scheduler_svc.domain.lifecycle import OPEN, Status

_COUNTS = """
    SELECT (SELECT count(*) FROM tasks),
        (SELECT count(*) FROM (SELECT FROM contents GROUP BY task_key HAVING count(*) > 1) AS twice)
"""


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts of tasks, but for `wrong`."""

    acknowledged: int
    completed: int
    open: int
    """They wait or run still."""
    again: int
    """They had more than one attempt: a worker was lost, or let go of them."""
    ran_again: int
    """Their CLI was started more than once."""
    lost: int
    twice: int
    wrong: tuple[str, ...]
    """A line for each that is lost, or was done twice, or ended otherwise."""


def audit(acknowledged: Mapping[str, str], notices: Mapping[str, int], stored: Stored, runs: Sequence[str]) -> Audit:
    """Compares what was acknowledged with what the database holds.

    Args:
        acknowledged: task ids by request id.
        notices: how often a watcher was told of a task's completion.
        stored: what the database holds.
        runs: the task id of each start of a CLI.
    """
    contents = Counter(content.task_id for content in stored.contents)
    requests = Counter(task.request_id for task in stored.tasks.values())
    lost, doubled, unexpected = [], [], []
    completed = still_open = repeated = 0
    ran_again = sum(count > 1 for count in Counter(runs).values())
    for request_id, task_id in acknowledged.items():
        task = stored.tasks.get(task_id)
        if task is None:
            lost.append(f"{task_id} was acknowledged, and is not there")
            continue
        events = stored.events.get(task_id, ())
        ends = sum(event.status is Status.COMPLETED for event in events)
        repeated += any(event.attempt > 1 for event in events)
        if ends > 1 or contents[task_id] > 1 or notices.get(task_id, 0) > 1 or requests[request_id] > 1:
            doubled.append(f"{task_id} completed {ends} times, has {contents[task_id]} contents")
        if task.status is Status.COMPLETED:
            completed += 1
            if not contents[task_id]:
                lost.append(f"{task_id} is completed, and has no content")
        elif task.status in OPEN:
            still_open += 1
        else:
            unexpected.append(f"{task_id} is {task.status.label}")
    return Audit(
        len(acknowledged),
        completed,
        still_open,
        repeated,
        ran_again,
        len(lost),
        len(doubled),
        (*lost, *doubled, *unexpected),
    )


class LiveAudit:
    """Counts as far as the database lets it."""

    def __init__(self, database: Database | Machines, load: Load) -> None:
        self.lost = 0
        self.twice = 0
        self._database = database
        self._load = load

    def counting(self) -> AbstractContextManager[None]:
        """It counts every few seconds meanwhile. A frozen database holds it up: nobody waits for that."""
        return every(2.0, self._count, "live-audit", patience=5.0)

    def _count(self) -> None:
        acknowledged = self._load.acknowledged
        with contextlib.suppress(psycopg2.Error):
            ((tasks, self.twice),) = self._database.rows(_COUNTS)
            self.lost = max(acknowledged - tasks, 0)


def summary(tasks: Audit, load: Load, faults: Faults, options: Options, seconds: float) -> tuple[Sequence[str], bool]:
    problems = [*tasks.wrong, *load.wrong]
    unsure = load.submitted - load.acknowledged
    if options.unattended and unsure:
        problems.append(f"{unsure} submits were never acknowledged")
    if options.unattended and tasks.open:
        problems.append(f"{tasks.open} tasks did not come to their end")
    if options.script:
        problems += faults.missed
    lines = [
        "",
        f"{seconds:.0f} s; faults {len(faults.all)}, restarts by roll {faults.restarts}",
        f"submitted {load.submitted}, acknowledged {load.acknowledged}, completed {tasks.completed}, open {tasks.open}",
        f"lost {tasks.lost}, twice {tasks.twice}; {tasks.again} needed another attempt, {tasks.ran_again} ran again"
        + (f"; {unsure} submits got no answer before the end" if unsure else ""),
        *_table(faults.all),
        *(f"WRONG: {problem}" for problem in problems[:20]),
        "nothing was lost, and nothing done twice" if not problems else f"{len(problems)} things are WRONG: see above",
    ]
    return lines, not problems


def _table(faults: Sequence[Fault]) -> Iterator[str]:
    if not faults:
        return
    yield ""
    yield f"{'what':<34}{'lasted':>8}{'healthy':>9}{'slowest':>9}{'no ack':>9}  first alert"
    for fault in faults:
        duration = f"{fault.undone - fault.began:.0f} s" if fault.undone is not None else "-"
        healthy = f"{fault.healthy - fault.undone:.1f} s" if fault.healthy and fault.undone else "-"
        yield f"{fault.what:<34}{duration:>8}{healthy:>9}{fault.slowest:>7.1f} s{fault.gap:>7.1f} s  {_alerts(fault)}"
    lags = [fault.healthy - fault.undone for fault in faults if fault.healthy and fault.undone]
    if lags:
        yield f"healthy again {median(lags):.1f} s after what was done had ended (median), {max(lags):.1f} s at most"
    runbooks = {name: path for fault in faults for name, path in fault.runbooks.items()}
    yield from (f"{name}: {path}" for name, path in sorted(runbooks.items()))


def _alerts(fault: Fault) -> str:
    first: dict[str, float] = {}
    for (name, _), delay in fault.alerts.items():
        first.setdefault(name, delay)
    reached = f"; reached somebody after {fault.reached:.0f} s" if fault.reached else ""
    return (", ".join(f"{name} after {delay:.0f} s" for name, delay in first.items()) or "none") + reached
