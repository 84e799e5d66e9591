"""Deletes the assets that no content names, a week after they were touched last.

Two transactions, so that a crash between an object's deletion and a commit leaves no row that is complete without one:
`retire` makes such rows incomplete, and `delete_retired` deletes incomplete ones with their objects. Both lock rows. An
upload waits for that, and then finds the row incomplete, or makes a new one; a report waits, too, before it names an
asset. Rows that others have locked are left to a later round.

The lock of a row is held while its object is deleted: without it an upload could begin, and write the object, before
the deletion, which would then take the new one. No other transaction waits for the object store. This one does so for a
bounded time, shorter than the one after which the database ends an idle transaction (`store/engine/transactions.py`).
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler_svc.application.assets.objects import ObjectStore

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

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
    """Deletes some assets that are not complete. Returns how many; 0: no more are due. Raises AssetStoreUnavailable."""
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
