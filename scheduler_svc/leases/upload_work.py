"""Uploads: the fence of the lease, the row before the object, and the row's completion after it.

    begin     the row is there and touched: for a week nothing collects it
    (object)  the bytes are written and synced
    complete  with the row locked, so that nothing collects it meanwhile: the object may be named, and counts

The object is not looked for again: what `begin` touched stays for a week, and an upload lasts an hour at most. So no
transaction of an upload waits for the object store. A crash in between leaves a row that is not complete, which the
next upload completes, or the collection deletes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.assets.objects import claim_store
from scheduler_svc.assets.work import Quota, check_fits, count
from scheduler_svc.domain.content import Media, TaskResult
from scheduler_svc.domain.errors import AssetStoreUnavailable, LeaseLost
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptCompleted, FoldedUpdates, Verdict
from scheduler_svc.leases.attempts import ReportSource, find_foreign, verdict_on

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class Upload(NamedTuple):
    """An asset that the result of a lease is to name. `ref` is None if the lease id is malformed."""

    lease_id: str
    ref: LeaseRef | None
    sha256: str
    size: int


def begin(tx: Tx, upload: Upload, identity: str, max_bytes: int) -> Quota | None:
    """Returns whose bytes it will be; None if it is stored already. Raises LeaseLost, AccountAssetsFull.

    `identity`: the name of the caller's token; empty if none are required. `max_bytes`: see `Quota.default`.
    """
    account_id = upload.ref and _account_of(tx, upload.ref, identity)
    if account_id is None:
        raise LeaseLost(upload.lease_id)
    quota = Quota(account_id, max_bytes)
    if tx.assets.touch(upload.sha256, upload.size):
        count(tx, quota, upload.sha256)
        return None
    check_fits(tx, quota, upload.sha256, upload.size)
    return quota


def complete(tx: Tx, upload: Upload, quota: Quota, media: Media, store_id: str) -> None:
    """Completes an asset whose object is written to that store: contents may name it from now on.

    Raises AccountAssetsFull, and AssetStoreUnavailable if it is gone already or the store is not that of the others.
    """
    if not tx.assets.lock(upload.sha256):
        raise AssetStoreUnavailable(f"asset {upload.sha256} was deleted while it was uploaded")
    tx.assets.complete(upload.sha256, upload.size, media)
    count(tx, quota, upload.sha256)
    claim_store(tx, store_id)


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
