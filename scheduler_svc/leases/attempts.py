"""Who may report on a lease, and what follows from an attempt without a result.

Any stream of the identity that holds a lease may report on it; whether the report counts is a matter of the fence. An
attempt ends without a result if it failed, timed out, was lost, released, deferred or cancelled by force.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import FoldedUpdates, LastEnd, LeaseRow, Verdict, judge
from scheduler_svc.domain.lifecycle import Move, Status
from scheduler_svc.domain.resolution import STARTED, Cause, Counters, Requeue, Resolution, Step, resolve
from scheduler_svc.domain.task import BACKOFF, BARRED, TaskError
from scheduler_svc.history.work import Ledger, ReadyRow
from scheduler_svc.leases.rows import EndedAttempt, Inconsistent, LiveLease, TaskRow
from scheduler_svc.runtime.signals import StoppedAttempt

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


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
    for source, ref in reported:
        holder = _holder(ref, live, tasks)
        if holder and holder != source.worker_id:
            of_others[source, ref] = holder
    if not of_others:
        return set()
    identities = tx.workers.identities(sorted(set(of_others.values())))
    return {
        (reporter, ref) for (reporter, ref), holder in of_others.items() if identities.get(holder) != reporter.identity
    }


def _holder(ref: LeaseRef, live: Mapping[int, LiveLease], tasks: Mapping[int, TaskRow]) -> str:
    lease = live.get(ref.task_key)
    if lease is not None and lease.ref == ref:
        return lease.worker_id
    return tasks[ref.task_key].worker_id if ref.task_key in tasks else ""


@dataclass(frozen=True, slots=True)
class EndedLease:
    """A lease that ends; it is locked and not revoked.

    `starts`: the same report says that the CLI had started. `revoke`: the lease stays, revoked, until its worker
    releases it.
    """

    lease: LiveLease
    cause: Cause
    starts: bool = False
    revoke: bool = False


def end_attempts(tx: Tx, ledger: Ledger, ended: Sequence[EndedLease], max_losses: int) -> None:
    """Ends these attempts: the leases are deleted or revoked, the tasks end or are requeued."""
    if not ended:
        return
    tasks = tx.tasks.lock(sorted(item.lease.ref.task_key for item in ended))
    stopped_before = len(tx.signals.stopped)
    rows = [_end(tx, ledger, item, tasks[item.lease.ref.task_key], max_losses) for item in ended]
    deleted = [item.lease.ref for item in ended if not item.revoke]
    revoked = [item.lease.ref for item in ended if item.revoke]
    moved = tx.tasks.end_attempts(rows)
    changed = (tx.leases.delete(deleted) if deleted else 0) + (tx.leases.revoke(revoked) if revoked else 0)
    _name_traces(tx, stopped_before)
    if not moved == changed == len(ended):
        raise Inconsistent(f"{len(ended)} attempts end, {moved} tasks moved, {changed} leases changed")


def _name_traces(tx: Tx, first: int) -> None:
    """Adds to the stopped attempts from `first` on the traces of their tasks, for the log."""
    stopped = tx.signals.stopped[first:]
    traces = tx.tasks.traces([attempt.ref.task_key for attempt in stopped]) if stopped else {}
    if traces:
        attempts = [attempt._replace(trace_id=traces.get(attempt.ref.task_key, "")) for attempt in stopped]
        tx.signals.stopped[first:] = attempts


def delete_revoked(tx: Tx, revoked: Sequence[LiveLease]) -> None:
    """Deletes revoked leases, which are locked: they no longer bar their tasks."""
    if not revoked:
        return
    if tx.leases.delete([lease.ref for lease in revoked]) != len(revoked):
        raise Inconsistent("a revoked lease that was locked was not deleted")
    signal_revoked_gone(tx, (lease.account_id for lease in revoked))


def signal_revoked_gone(tx: Tx, accounts: Iterable[int]) -> None:
    tx.signals.due = True
    tx.signals.released.update(accounts)


def _end(tx: Tx, ledger: Ledger, item: EndedLease, task: TaskRow, max_losses: int) -> EndedAttempt:
    lease = item.lease
    status = lease.status
    if item.starts and status is Status.SUBMITTED:
        status = Status.PROCESSING
        record(ledger, lease, STARTED)
    counters = Counters(
        task.retry_count, task.max_retries, task.auto_retry, task.losses, task.refusals, task.deferrals, task.backoff
    )
    resolution = resolve(status, item.cause, counters, max_losses=max_losses, jitter=random.random())  # noqa: S311 - no secret
    for step in resolution.steps:
        record(ledger, lease, step, resolution.retry_count if step.target is Status.PENDING else None)
    _requeue(tx, ledger, lease, resolution, barred=item.revoke, expire_time=task.expire_time)
    if item.cause.move is not Move.RELEASE:
        tx.signals.stopped.append(StoppedAttempt(lease.ref, lease.worker_id, item.cause.reason, resolution.status))
    if resolution.requeue is Requeue.NOWHERE:
        tx.signals.ended.append(lease.ref.task_key)
    return EndedAttempt(
        *lease.ref,
        item.cause.end,
        resolution.status,
        lease.worker_id,
        lease.claim_time,
        lease.start_time or (tx.now if item.starts else None),
        resolution.retry_count,
        resolution.losses,
        resolution.refusals,
        resolution.deferrals,
        error_json(resolution.error),
    )


def _requeue(
    tx: Tx, ledger: Ledger, lease: LiveLease, resolution: Resolution, *, barred: bool, expire_time: datetime | None
) -> None:
    """`expire_time`: of a task of which no earlier attempt has begun; if this one has not either, it holds again."""
    if resolution.requeue is Requeue.NOWHERE:
        return
    unstarted = resolution.requeue in (Requeue.KEPT, Requeue.KEPT_LATER)
    tag, expires = (lease.tag, expire_time) if unstarted else (None, None)
    place = ReadyRow(lease.ref.task_key, lease.priority, tag, lease.account_id, lease.ref.attempt + 1, lease.timeout_ms)
    if resolution.requeue in (Requeue.BACKOFF, Requeue.KEPT_LATER):
        until = tx.now + timedelta(seconds=resolution.delay)
        ledger.enqueue(place, until=until, cause=BACKOFF, expire_time=expires)
    else:
        ledger.enqueue(place, until=tx.now if barred else None, cause=BARRED, expire_time=expires)


def record(ledger: Ledger, lease: LiveLease, step: Step, retry_count: int | None = None) -> None:
    ledger.move(
        lease.ref.task_key,
        lease.account_id,
        step.source,
        step.target,
        step.reason,
        message=step.message,
        ref=lease.ref,
        worker_id=lease.worker_id,
        retry_count=retry_count,
    )


def error_json(error: TaskError | None) -> str | None:
    """Returns an error as `tasks.error` keeps it."""
    if error is None:
        return None
    return json.dumps({"reason": error.reason, "message": error.message, "details": dict(error.details)})
