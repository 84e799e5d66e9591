"""What waits besides tasks: deliveries, entries of the publish pool, schedules. Part of `store`."""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.application.records import Backlogs
from scheduler_svc.domain.content import PublishStatus
from scheduler_svc.domain.webhook import RETRY_FOR, DeliveryStatus
from scheduler_svc.store.engine.rows import Statements
from scheduler_svc.store.schema.tables import AWAITS_RETRY, PUBLISHABLE

# Each condition is that of one index only, whatever the planner believes of the table (see `access_paths`).
_DELIVERIES = """SELECT FROM webhook_deliveries
            WHERE (status, webhook_id) > ({0}, 0) AND (status, webhook_id) < ({0} + 1, 0)"""
_MOVED_ON = "SELECT FROM publish_pool WHERE status = {} AND status <> {} AND next_attempt_time IS NULL"


def _counted(rows: str) -> str:
    return f"(SELECT count(*) FROM ({rows} LIMIT :limit) AS x)"


def _moved_on(status: PublishStatus) -> str:
    return _counted(_MOVED_ON.format(status, PublishStatus.PENDING))


_READ = sa.text(f"""
    SELECT {_counted(_DELIVERIES.format(DeliveryStatus.PENDING))},
        {_counted(_DELIVERIES.format(DeliveryStatus.EXHAUSTED))},
        coalesce((SELECT CAST(extract(epoch FROM now() - expire_time) AS float8) + {RETRY_FOR.total_seconds()}
            FROM webhook_deliveries WHERE end_time IS NULL ORDER BY expire_time LIMIT 1), 0),
        {_counted(f"SELECT FROM publish_pool WHERE status = {PublishStatus.PENDING} AND {PUBLISHABLE}")},
        {_moved_on(PublishStatus.PUBLISHING)},
        {_counted(f"SELECT FROM publish_pool WHERE {AWAITS_RETRY}")},
        {_moved_on(PublishStatus.FAILED)},
        {_counted("SELECT FROM schedules WHERE due_time IS NOT NULL")},
        coalesce((SELECT CAST(extract(epoch FROM now() - due_time) AS float8)
            FROM schedules WHERE due_time IS NOT NULL ORDER BY due_time LIMIT 1), 0)
""")
"""Counts, up to a limit each, and reads the oldest, of what waits besides tasks."""


class BacklogReads(Statements):
    def read(self, limit: int) -> Backlogs:
        """Counts up to `limit` of each."""
        return Backlogs(*self._row(_READ, limit=limit))
