"""Deletes the assets that no content names, a week after they were touched last.

Two transactions, so that a crash between an object's deletion and a commit leaves no row that is complete without one:
`retire` makes such rows incomplete, and `delete_retired` deletes incomplete ones with their objects. Both lock rows. An
upload waits for that, and then finds the row incomplete, or makes a new one; a report waits, too, before it names an
asset. Rows that others have locked are left to a later round.
"""

from __future__ import annotations

from datetime import timedelta

from scheduler_svc.application.assets.objects import ObjectStore
from scheduler_svc.application.ports import Tx

PAGE = 500
"""Rows that one transaction examines."""
MAX_DELETED = 20
"""Objects that one transaction deletes: their rows are locked meanwhile."""


def retire(tx: Tx, after: str, age: timedelta) -> str | None:
    """Examines the next assets by SHA-256. Returns where the next batch begins; None at the end."""
    page = tx.assets.page(after, PAGE)
    if unnamed := tx.assets.lock_unnamed(page, age) if page else []:
        tx.assets.retire(unnamed)
    return page[-1] if len(page) == PAGE else None


def delete_retired(tx: Tx, store: ObjectStore, age: timedelta) -> int:
    """Deletes some assets that are not complete. Returns how many; fewer than MAX_DELETED: no more are due."""
    due = tx.assets.lock_retired(age, MAX_DELETED)
    if due:
        tx.assets.delete(due)
        for sha256 in due:
            store.delete(sha256)
    return len(due)
