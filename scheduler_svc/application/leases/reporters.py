"""Who may report on a lease: any stream of the identity that holds it; and whether that counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.application.records import LiveLease, TaskRow
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import FoldedUpdates, LastEnd, LeaseRow, Verdict, judge

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


class ReportSource(NamedTuple):
    """The worker of a stream, and the identity of its token; empty if no tokens are required."""

    worker_id: str
    identity: str


UNKNOWN = ReportSource("", "")

ReportedLease = tuple[ReportSource, LeaseRef]
"""A lease on which a worker reports."""


def verdict_on(folded: FoldedUpdates, lease: LiveLease | None, task: TaskRow | None) -> Verdict:
    """Judges the updates of a lease by the task's present lease, if any, and by how its last one ended."""
    live = None if lease is None else LeaseRow(lease.ref, lease.revoked)
    if task is None or task.fence is None:
        return judge(folded, live, None)
    return judge(folded, live, LastEnd(task.status, task.attempt, task.fence, task.lease_end))


def find_foreign(
    tx: Tx, reported: Iterable[ReportedLease], live: Mapping[int, LiveLease], tasks: Mapping[int, TaskRow]
) -> set[ReportedLease]:
    """Returns the leases that another identity's worker holds, or held last: for their reporter they are lost.

    Every source has an identity. `live`: the tasks' leases, locked; `tasks`: those whose lease is another one, or gone.
    """
    of_others = {}
    for by, ref in reported:
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
