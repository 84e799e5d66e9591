"""Who reports: a lease is judged whichever stream brings its report, but only the identity that holds it is heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import LiveLease, TaskRow
from scheduler_svc.domain.ids import LeaseRef


class ReportSource(NamedTuple):
    """The worker of a stream, and whose token that carries; empty where no tokens are asked."""

    worker_id: str
    identity: str


UNKNOWN = ReportSource("", "")

ReportedLease = tuple[ReportSource, LeaseRef]
"""That a reporter says something of a lease."""


def foreign(
    tx: Tx, said: Iterable[ReportedLease], live: Mapping[int, LiveLease], tasks: Mapping[int, TaskRow]
) -> set[ReportedLease]:
    """What is said of leases that another identity's worker holds, or held last: to its reporter they are lost.

    Every reporter has an identity. `live` has the tasks' leases, locked; `tasks` those whose lease is another one, or
    none.
    """
    of_others = {}
    for by, ref in said:
        holder = _holder(ref, live, tasks)
        if holder and holder != by.worker_id:
            of_others[by, ref] = holder
    if not of_others:
        return set()
    identities = tx.workers.identities(sorted(set(of_others.values())))
    return {(by, ref) for (by, ref), holder in of_others.items() if identities.get(holder) != by.identity}


def _holder(ref: LeaseRef, live: Mapping[int, LiveLease], tasks: Mapping[int, TaskRow]) -> str:
    lease = live.get(ref.task_key)
    if lease is not None and lease.ref == ref:
        return lease.worker_id
    return tasks[ref.task_key].worker_id if ref.task_key in tasks else ""
