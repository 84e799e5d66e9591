"""Uploads by workers: the fence of the lease, before the row of the asset. `assets/uploads.py` says what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.assets.work import Quota, StoredFile, announce
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import LeaseLost
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptCompleted, FoldedUpdates, Verdict
from scheduler_svc.leases.attempts import ReportSource, find_foreign, verdict_on

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class Upload(NamedTuple):
    """An asset that the result of a lease is to name. `ref` is None if the lease id is malformed."""

    lease_id: str
    ref: LeaseRef | None
    file: StoredFile


def begin(tx: Tx, upload: Upload, identity: str, max_bytes: int) -> Quota | None:
    """Returns whose bytes it will be; None if it is stored already. Raises LeaseLost, AccountAssetsFull.

    `identity`: the name of the caller's token; empty if none are required. `max_bytes`: see `Quota.default`.
    """
    account_id = upload.ref and _account_of(tx, upload.ref, identity)
    if account_id is None:
        raise LeaseLost(upload.lease_id)
    quota = Quota(account_id, max_bytes)
    return None if announce(tx, quota, upload.file) else quota


def _account_of(tx: Tx, ref: LeaseRef, identity: str) -> int | None:
    """Returns the account of a lease whose result would count now, as in `leases/report.py`; None for any other."""
    live = tx.leases.peek([ref.task_key])
    lease = live.get(ref.task_key)
    held = lease is not None and lease.ref == ref
    tasks = {} if held else tx.tasks.peek([ref.task_key])
    if identity and find_foreign(tx, {(ReportSource("", identity), ref)}, live, tasks):
        return None
    completed = FoldedUpdates(ref, ending=AttemptCompleted(TaskResult("")))
    if verdict_on(completed, lease, tasks.get(ref.task_key)) not in (Verdict.APPLY, Verdict.APPLY_LATE):
        return None
    return (lease or tasks[ref.task_key]).account_id
