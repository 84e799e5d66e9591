"""Who holds locks that sessions wait for. Part of `store`, for the log and for `contentgen doctor`."""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.application.records import LockHolder
from scheduler_svc.store.rows import Statements

# A holder that itself waits for a lock is left out: what it waits for is the cause. Of sessions of other roles a role
# without rights sees the pid and the role alone.
_HOLDERS = sa.text("""
    SELECT b.pid, coalesce(b.usename, ''), coalesce(b.application_name, ''), coalesce(host(b.client_addr), ''),
        coalesce(b.state, ''), coalesce(extract(epoch FROM clock_timestamp() - b.xact_start), 0)::float8,
        coalesce(string_agg(DISTINCT w.relation, ', '), '')
    FROM (
        SELECT a.pid, (SELECT max(l.relation::regclass::text) FROM pg_locks AS l WHERE l.pid = a.pid
            AND (l.locktype = 'tuple' OR (l.locktype = 'relation' AND NOT l.granted))) AS relation
        FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.wait_event_type = 'Lock'
    ) AS w, unnest(pg_blocking_pids(w.pid)) AS blocking(pid), pg_stat_activity AS b
    WHERE b.pid = blocking.pid
        AND NOT EXISTS (SELECT FROM pg_stat_activity AS x WHERE x.pid = b.pid AND x.wait_event_type = 'Lock')
    GROUP BY 1, 2, 3, 4, 5, b.xact_start ORDER BY b.xact_start NULLS LAST, b.pid LIMIT 20
""")


class Locks(Statements):
    """Statements on PostgreSQL's own views."""

    def holders(self) -> list[LockHolder]:
        """The sessions that others of this database wait for at this moment, the longest transaction first."""
        return [LockHolder(*row) for row in self._rows(_HOLDERS)]
