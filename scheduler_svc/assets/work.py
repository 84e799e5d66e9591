"""Assets: what contents name, quotas, what readers get, and the deletion of what nothing names.

A content names only what is stored, in the transaction that stores the content. An asset counts once for each account
whose tasks named it: from its upload, for as long as an unnamed one is kept, and while a content of the account names
it. What counts is a row, and the sum of the rows another one, so that no upload adds them up. Neither a report nor a
deletion touches them: the collection counts what is not named any more out, and what was stored without being counted
in.

The collection deletes what no content names, a week after it was touched last, in two transactions, so that a crash
between an object's deletion and a commit leaves no row that is complete without one: `retire` makes such rows
incomplete, and `delete_retired` deletes incomplete ones with their objects. Both lock rows. An upload waits for that,
and then finds the row incomplete, or makes a new one; a report waits, too, before it names an asset. Rows that others
have locked are left to a later round.

The lock of a row is held while its object is deleted: without it an upload could begin, and write the object, before
the deletion, which would then take the new one. No other transaction waits for the object store. This one does so for a
bounded time, shorter than the one after which the database ends an idle transaction (`transactions.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.assets.objects import ObjectStore, claim_store
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import NOT_UPLOADED, Asset, CompletedTask, Media, TaskResult
from scheduler_svc.domain.errors import AccountAssetsFull, AssetStoreUnavailable, existing

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class AssetUsage(NamedTuple):
    """Bytes that an account may have of assets (0: the default), and has; `counts`: whether the asset is among them."""

    limit: int
    bytes: int
    counts: bool


class ContentAssetRow(NamedTuple):
    """An insert into `content_assets`: either stored, with its `sha256`, or left out for a `reason`."""

    content_id: int
    position: int
    account_id: int
    name: str
    sha256: str | None
    reason: str | None


def name_assets(tx: Tx, completed: Iterable[tuple[CompletedTask, TaskResult]]) -> None:
    """Records what each content names. An asset that is not stored counts as left out; the content stays."""
    naming = [(task, result) for task, result in completed if result.assets or result.left_out]
    if not naming:
        return
    hashes = sorted({asset.sha256 for _, result in naming for asset in result.assets})
    stored = tx.assets.lock_complete(hashes) if hashes else frozenset()
    tx.assets.name([row for task, result in naming for row in _rows(task, result, stored)])


def _rows(task: CompletedTask, result: TaskResult, stored: frozenset[str]) -> Iterator[ContentAssetRow]:
    entries: list[tuple[str, str | None, str | None]] = [
        (name, sha256, None) if sha256 in stored else (name, None, NOT_UPLOADED) for name, sha256 in result.assets
    ]
    entries += [(name, None, reason) for name, reason in result.left_out]
    for position, entry in enumerate(entries):
        yield ContentAssetRow(task.content_id, position, task.account_id, *entry)


class Quota(NamedTuple):
    """An account, and the bytes that it may have unless it has a limit of its own; 0: any number."""

    account_id: int
    default: int


def check_fits(tx: Tx, quota: Quota, sha256: str, size: int) -> None:
    """Raises AccountAssetsFull if an asset does not fit as things are: others may be under way."""
    usage = tx.assets.usage(quota.account_id, sha256)
    if not usage.counts:
        _check(usage.bytes + size, usage.limit, quota)


def count(tx: Tx, quota: Quota, sha256: str) -> None:
    """Counts a stored asset. Raises AccountAssetsFull if it does not fit."""
    if tx.assets.count(quota.account_id, sha256):
        usage = tx.assets.usage(quota.account_id, sha256)
        _check(usage.bytes, usage.limit, quota)


class StoredFile(NamedTuple):
    """What an upload brings. `sha256` is lower-case hex, `size` in bytes."""

    sha256: str
    size: int


def announce(tx: Tx, quota: Quota, file: StoredFile) -> bool:
    """Makes sure of a row, before the object. Returns whether it is stored already. Raises AccountAssetsFull."""
    if tx.assets.touch(file.sha256, file.size):
        count(tx, quota, file.sha256)
        return True
    check_fits(tx, quota, file.sha256, file.size)
    return False


def complete(tx: Tx, quota: Quota, file: StoredFile, media: Media, store_id: str) -> None:
    """Completes an asset whose object is written to that store: contents may name it from now on.

    Raises AccountAssetsFull, and AssetStoreUnavailable if it is gone already or the store is not that of the others.
    """
    if not tx.assets.lock(file.sha256):
        raise AssetStoreUnavailable(f"asset {file.sha256} was deleted while it was uploaded")
    tx.assets.complete(file.sha256, file.size, media)
    count(tx, quota, file.sha256)
    claim_store(tx, store_id)


def _check(total: int, own_limit: int, quota: Quota) -> None:
    limit = own_limit or quota.default
    if limit and total > limit:
        raise AccountAssetsFull(quota.account_id, limit)


def get_asset(tx: Tx, scope: Scope, sha256: str) -> Asset:
    """Returns an asset that a content of these accounts names. Raises NotFound."""
    return existing(tx.assets.get(scope, sha256), "asset", sha256)


PAGE = 500
"""Rows that one transaction examines."""
MAX_DELETED = 20
"""Objects that one transaction deletes: their rows are locked meanwhile."""
MAX_SECONDS = 5.0
"""After which it deletes no further one."""


def retire(tx: Tx, after: str, age: timedelta) -> str | None:
    """Examines the next assets by SHA-256. Returns where the next batch begins; None at the end."""
    page = tx.assets.page(after, PAGE)
    if not page:
        return None
    tx.assets.count_named(page)
    tx.assets.uncount(page, age)
    if unnamed := tx.assets.lock_unnamed(page, age):
        tx.assets.retire(unnamed)
    return page[-1] if len(page) == PAGE else None


def delete_retired(tx: Tx, store: ObjectStore, age: timedelta) -> int:
    """Deletes some incomplete assets. Returns how many, 0 if no more are due. Raises AssetStoreUnavailable."""
    until = time.monotonic() + MAX_SECONDS
    deleted: list[str] = []
    for sha256 in tx.assets.lock_retired(age, MAX_DELETED):
        if deleted and time.monotonic() >= until:
            break
        store.delete(sha256)
        deleted.append(sha256)
    if deleted:
        tx.assets.delete(deleted)
    return len(deleted)
