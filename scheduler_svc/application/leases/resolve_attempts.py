"""The end of attempts without a result: failed, timed out, lost, given back, deferred, cancelled by force."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import EndedAttempt, LiveLease, TaskRow
from scheduler_svc.application.signals import StoppedAttempt
from scheduler_svc.application.tasks.ledger import BACKOFF, BARRED, Ledger
from scheduler_svc.domain.lifecycle import Move, Status
from scheduler_svc.domain.resolution import Cause, Counters, Requeue, Resolution, resolve
from scheduler_svc.domain.task import TaskError


class Inconsistent(Exception):
    """Rows that were locked are not as they must be: a defect of ours; the transaction is given up."""


@dataclass(frozen=True, slots=True)
class EndedLease:
    """A lease, locked and not revoked, that ends for a cause.

    `starts`: a report that also says that the CLI had started, which was not committed yet. `revoke`: the lease stays,
    revoked, until its worker lets go.
    """

    lease: LiveLease
    cause: Cause
    starts: bool = False
    revoke: bool = False


def end_attempts(tx: Tx, ledger: Ledger, ended: Sequence[EndedLease], max_losses: int) -> None:
    """Ends these attempts: the leases go (or are revoked), the tasks end or go on waiting."""
    if not ended:
        return
    tasks = tx.tasks.lock(sorted(item.lease.ref.task_key for item in ended))
    rows = [_end(tx, ledger, item, tasks[item.lease.ref.task_key], max_losses) for item in ended]
    gone = [item.lease.ref for item in ended if not item.revoke]
    revoked = [item.lease.ref for item in ended if item.revoke]
    moved = tx.tasks.end_attempts(rows)
    went = (tx.leases.delete(gone) if gone else 0) + (tx.leases.revoke(revoked) if revoked else 0)
    if not moved == went == len(ended):
        raise Inconsistent(f"{len(ended)} attempts end, {moved} tasks moved, {went} leases went")


def delete_revoked(tx: Tx, revoked: Sequence[LiveLease]) -> None:
    """Ends revoked leases, which are locked: their tasks, if they still wait, are barred no more."""
    if not revoked:
        return
    if tx.leases.delete([lease.ref for lease in revoked]) != len(revoked):
        raise Inconsistent("a revoked lease that was locked did not go")
    signal_revoked_gone(tx, (lease.account_id for lease in revoked))


def signal_revoked_gone(tx: Tx, accounts: Iterable[int]) -> None:
    """Tells that revoked leases of these accounts went."""
    tx.signals.due = True
    tx.signals.released.update(accounts)


def _end(tx: Tx, ledger: Ledger, item: EndedLease, task: TaskRow, max_losses: int) -> EndedAttempt:
    lease = item.lease
    status = lease.status
    if item.starts and status is Status.SUBMITTED:
        status = Status.PROCESSING
        record(ledger, lease, Status.SUBMITTED, status, reason="STARTED")
    counters = Counters(
        task.retry_count, task.max_retries, task.auto_retry, task.losses, task.refusals, task.deferrals, task.backoff
    )
    then = resolve(status, item.cause, counters, max_losses=max_losses, jitter=random.random())  # noqa: S311 - a spread
    for step in then.steps:
        count = then.retry_count if step.target is Status.PENDING else None
        record(ledger, lease, step.source, step.target, reason=step.reason, message=step.message, retry_count=count)
    _requeue(tx, ledger, lease, then, barred=item.revoke)
    if item.cause.move is not Move.GIVE_BACK:
        tx.signals.stopped.append(StoppedAttempt(lease.ref, lease.worker_id, item.cause.reason, then.status))
    if then.requeue is Requeue.NOWHERE:
        tx.signals.ended.append(lease.ref.task_key)
    return EndedAttempt(
        *lease.ref,
        item.cause.end,
        then.status,
        lease.worker_id,
        lease.claim_time,
        lease.start_time or (tx.now if item.starts else None),
        then.retry_count,
        then.losses,
        then.refusals,
        then.deferrals,
        error_json(then.error),
    )


def _requeue(tx: Tx, ledger: Ledger, lease: LiveLease, then: Resolution, *, barred: bool) -> None:
    place = (lease.ref.task_key, lease.account_id, lease.priority, lease.ref.attempt + 1, lease.timeout_ms)
    keeps = then.requeue in (Requeue.KEPT, Requeue.KEPT_LATER)
    tag = lease.tag if keeps else None
    if then.requeue in (Requeue.BACKOFF, Requeue.KEPT_LATER):
        ledger.delay(*place, until=tx.now + timedelta(seconds=then.delay), cause=BACKOFF, tag=tag)
    elif then.requeue is not Requeue.NOWHERE and barred:
        ledger.delay(*place, until=tx.now, cause=BARRED, tag=tag)
    elif then.requeue is not Requeue.NOWHERE:
        ledger.enqueue(*place, tag=tag)


def record(
    ledger: Ledger,
    lease: LiveLease,
    source: Status,
    target: Status,
    *,
    reason: str,
    message: str = "",
    retry_count: int | None = None,
) -> None:
    """Records a move that belongs to a lease."""
    ledger.move(
        lease.ref.task_key,
        lease.account_id,
        source,
        target,
        reason,
        message=message,
        ref=lease.ref,
        worker_id=lease.worker_id,
        retry_count=retry_count,
    )


def error_json(error: TaskError | None) -> str | None:
    """An error as `tasks.error` keeps it."""
    if error is None:
        return None
    return json.dumps({"reason": error.reason, "message": error.message, "details": dict(error.details)})
