"""Which transactions run, so that what they may still commit is known: see `domain.watermark`."""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.domain.watermark import Snapshot
from scheduler_svc.store.engine.rows import Statements

# The id is taken by a statement of its own: the snapshot of the next one then shows who is older and still runs.
_TAKE_ID = sa.text("SELECT pg_current_xact_id()")
"""Takes a transaction id, before the snapshot that is compared with it."""
_OLDEST = sa.text("""
    SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint),
        CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)
""")
"""Reads the transaction's own id and the oldest one that still runs."""


class Snapshots(Statements):
    def take(self, last: int) -> Snapshot:
        """The snapshot after `last`, the last number drawn, was read."""
        self._session.hold_back(_TAKE_ID, {})
        own, oldest = self._row(_OLDEST)
        return Snapshot(last, own, oldest)
