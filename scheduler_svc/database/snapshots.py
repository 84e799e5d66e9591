"""Which transactions have drawn from a sequence and may still commit: see `domain.watermark`."""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.database.statements import Statements
from scheduler_svc.domain.watermark import Snapshot

# The id is taken by a statement of its own: the snapshot of the next one then shows who is older and still runs.
_TAKE_ID = sa.text("SELECT pg_current_xact_id()")
"""Takes a transaction id, before the snapshot that is compared with it."""
_IS_OLDEST = sa.text(
    "SELECT CAST(pg_current_xact_id() AS text) = CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)"
)
"""Checks that no transaction with a lower id runs, in any database."""
# `nextval` locks the sequence until its transaction has ended and all may see what it did. PREPARE TRANSACTION changes
# neither the lock nor the transaction's virtual id.
_DRAWERS = sa.text("""
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = CAST(CAST(:sequence AS text) AS regclass)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND mode = 'RowExclusiveLock' AND granted
""")
"""Finds the transactions that have drawn from a sequence."""


class Snapshots(Statements):
    def take(self, last: int, sequence: str) -> Snapshot:
        """The snapshot after `last`, the last number drawn from the sequence, was read.

        Who draws has an id, so nobody has drawn if no older id runs. That is seen at once; the locks are many.
        """
        self._session.hold_back(_TAKE_ID, {})
        if self._row(_IS_OLDEST)[0]:
            return Snapshot(last, frozenset())
        return Snapshot(last, frozenset(row[0] for row in self._rows(_DRAWERS, sequence=sequence)))
