"""Housekeeping: what is deleted for its age, a bounded number of rows at a time, and the vacuum of narrow tables."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from scheduler_svc.database.connections import AdvisoryLock
from scheduler_svc.database.statements import Statements, leased
from scheduler_svc.domain.webhook import DeliveryStatus

_VACUUM = sa.text("VACUUM (SKIP_LOCKED, TRUNCATE false) ready, leases, delayed, count_deltas, rollup_deltas, shares")
"""Vacuums the tables that rows pass through quickly."""

_TAKE_TURN = sa.text(f"SELECT pg_try_advisory_xact_lock({AdvisoryLock.RETENTION.key})")
"""Locks out other retentions, if none runs."""

# A range of the index of what has ended. It begins where the batch before it ended: what that one deleted stands in the
# index until a vacuum, and would be walked past by each batch after it.
_LOCK_ENDED = sa.text(f"""
    SELECT t.task_key, t.end_time FROM tasks AS t
    WHERE t.end_time >= coalesce(CAST(:since AS timestamptz), '-infinity')
        AND t.end_time <= now() - make_interval(secs => :age) AND NOT {leased("t")}
    ORDER BY t.end_time LIMIT :limit FOR UPDATE SKIP LOCKED
""")
"""Locks tasks that ended long ago."""

_CONTENTS = sa.text("""
    SELECT content_id, create_time FROM contents WHERE content_id > :after ORDER BY content_id LIMIT :limit
""")
"""Reads a page of contents with their times."""

# The workers are read from end to end, which is once an hour or less. NOT IN, so that the leases are hashed once.
_FORGET_WORKERS = sa.text("""
    DELETE FROM workers WHERE worker_id = ANY(ARRAY(
        SELECT worker_id FROM workers
        WHERE heartbeat_time < now() - make_interval(secs => :age) AND worker_id NOT IN (SELECT worker_id FROM leases)
        ORDER BY worker_id LIMIT :limit FOR UPDATE SKIP LOCKED))
""")
"""Deletes workers that have been silent for long."""

# All that is remembered of a source is forgotten at once, with its number, and deleted later. Not while an import runs.
_FORGET_SOURCES = sa.text("""
    DELETE FROM import_sources
    WHERE import_time < now() - make_interval(secs => :age)
        AND pg_try_advisory_xact_lock(hashtext('contentgen.import'))
""")
"""Deletes import sources that were used long ago."""
_DELETE_FORGOTTEN = sa.text("""
    DELETE FROM imported WHERE ctid = ANY(ARRAY(
        SELECT own.ctid FROM generate_series(1, (SELECT max(source_id) FROM imported)) AS s(source_id), LATERAL (
            SELECT x.ctid FROM imported AS x WHERE x.source_id = s.source_id
            ORDER BY x.source_id, x.kind, x.old_id LIMIT :limit) AS own
        WHERE s.source_id NOT IN (SELECT source_id FROM import_sources) LIMIT :limit))
""")
"""Deletes what is remembered of deleted import sources."""

# It begins where the batch before it ended: see `_LOCK_ENDED`.
_DELETE_DELIVERIES = sa.text("""
    DELETE FROM webhook_deliveries WHERE delivery_id = ANY(ARRAY(
        SELECT delivery_id FROM webhook_deliveries
        WHERE status = :status AND end_time >= coalesce(CAST(:since AS timestamptz), '-infinity')
            AND end_time < now() - make_interval(secs => :age)
        ORDER BY end_time LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING end_time
""")
"""Deletes deliveries that ended long ago."""
# Also those that were never tried: behind a receiver that fails there may be many more than are tried in that time. Not
# one that a replica tries: its claim ends later than now.
_EXHAUST_DELIVERIES = sa.text(f"""
    UPDATE webhook_deliveries SET status = {DeliveryStatus.EXHAUSTED}, next_attempt_time = NULL, end_time = now()
    WHERE delivery_id = ANY(ARRAY(
        SELECT delivery_id FROM webhook_deliveries
        WHERE end_time IS NULL AND expire_time <= now() AND next_attempt_time <= now()
        ORDER BY expire_time LIMIT :limit FOR UPDATE SKIP LOCKED))
""")
"""Gives up deliveries that have waited for too long."""
# A transaction that had read the webhook before it was deleted may store some more.
_DELETE_OF_DELETED = sa.text(f"""
    DELETE FROM webhook_deliveries WHERE delivery_id = ANY(ARRAY(
        SELECT k.delivery_id FROM webhooks AS w,
            generate_series({min(DeliveryStatus)}, {max(DeliveryStatus)}) AS s(own), LATERAL (
                SELECT d.delivery_id FROM webhook_deliveries AS d
                WHERE (d.status, d.webhook_id, d.delivery_id) > (s.own, w.webhook_id, 0)
                    AND (d.status, d.webhook_id, d.delivery_id) < (s.own, w.webhook_id + 1, 0)
                ORDER BY d.status, d.webhook_id, d.delivery_id LIMIT :limit FOR UPDATE SKIP LOCKED
            ) AS k WHERE w.delete_time IS NOT NULL LIMIT :limit))
""")
"""Deletes the deliveries of deleted webhooks."""
_DELETE_WEBHOOKS = sa.text("""
    DELETE FROM webhooks AS w WHERE w.delete_time < now() - interval '1 hour'
        AND NOT EXISTS (SELECT FROM webhook_deliveries AS d WHERE d.webhook_id = w.webhook_id OFFSET 0)
""")
"""Deletes the rows of deleted webhooks that have no deliveries any more."""

# By keys, which rise with the time. It begins where the batch before it ended: see `_LOCK_ENDED`.
_DELETE_AUDIT_EVENTS = sa.text("""
    DELETE FROM audit_events WHERE event_key = ANY(ARRAY(
        SELECT event_key FROM audit_events WHERE event_key >= :since AND event_key < :until
        ORDER BY event_key LIMIT :limit))
    RETURNING event_key
""")
"""Deletes audit events of long ago."""


class Sweeps(Statements):
    """Statements of the retention. Each is bounded by its limit."""

    def take_turn(self) -> bool:
        """Returns whether nobody else deletes by age; then nobody else does before this transaction ends."""
        return bool(self._row(_TAKE_TURN)[0])

    def lock_ended(self, since: datetime | None, age: timedelta, limit: int) -> list[tuple[int, datetime]]:
        """Returns the tasks that ended at `since` or later, and so long ago, by their keys, locked; oldest first.

        One whose worker is still being stopped stays until the lease that bars it has gone.
        """
        return list(self._rows(_LOCK_ENDED, since=since, age=age.total_seconds(), limit=limit))

    def contents(self, after: int, limit: int) -> list[tuple[int, datetime]]:
        """Returns the ids above `after` of contents, and when those were made; lowest first."""
        return list(self._rows(_CONTENTS, after=after, limit=limit))

    def forget_workers(self, age: timedelta, limit: int) -> int:
        """Deletes workers without a heartbeat for so long that hold no lease; returns how many."""
        return self._run(_FORGET_WORKERS, age=age.total_seconds(), limit=limit)

    def forget_imports(self, age: timedelta, limit: int) -> int:
        """Deletes what is remembered of sources that nothing was imported from for so long; returns how many rows."""
        self._run(_FORGET_SOURCES, age=age.total_seconds())
        return self._run(_DELETE_FORGOTTEN, limit=limit)

    def delete_deliveries(
        self, status: DeliveryStatus, since: datetime | None, age: timedelta, limit: int
    ) -> list[datetime]:
        """Deletes the oldest deliveries that ended in this status at `since` or later, and so long ago.

        Returns when each of them had ended.
        """
        values = {"status": status.value, "since": since, "age": age.total_seconds(), "limit": limit}
        return [row[0] for row in self._rows(_DELETE_DELIVERIES, **values)]

    def exhaust_deliveries(self, limit: int) -> int:
        """Gives up what has waited for too long; returns how many."""
        return self._run(_EXHAUST_DELIVERIES, limit=limit)

    def delete_deliveries_of_deleted(self, limit: int) -> int:
        """Deletes deliveries of deleted webhooks, and the webhooks after the last one; returns how many deliveries."""
        deleted = self._run(_DELETE_OF_DELETED, limit=limit)
        self._run(_DELETE_WEBHOOKS)
        return deleted

    def delete_audit_events(self, since: int, until: int, limit: int) -> list[int]:
        """Deletes the oldest audit events with keys from `since` to below `until`; returns their keys."""
        return self._all(int, _DELETE_AUDIT_EVENTS, since=since, until=until, limit=limit)


def vacuum(engine: sa.Engine) -> None:
    """Vacuums the tables that rows pass through quickly, while their dead rows are few; skips locked tables."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(_VACUUM)
