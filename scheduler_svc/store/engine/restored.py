"""Prepares a database that was restored from a backup, before any replica uses it."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

# The stamp is that of the last tick before the backup. As after any gap, nothing expires for a lease time from the
# first tick on: workers have time to come back, and say what they hold.
_OPEN_A_GAP = sa.text("UPDATE reaper SET stamp = to_timestamp(0)")
"""Makes the reaper wait a lease time after a restore."""
_DISCONNECT_WORKERS = sa.text("UPDATE workers SET connected = false WHERE connected")
"""Marks all workers as disconnected after a restore."""
# Numbers that were assigned after the backup are not assigned again: an id of a content or an account that a client has
# kept would lead to another one. So many a second may have been drawn, and ten minutes for clocks that differ.
# Tasks need none of this, for their keys have the time in them; leases have random fences.
_SKIP_NUMBERS = sa.text("""
    SELECT setval(s.name, coalesce(pg_sequence_last_value(s.name), 0)
        + ceil(s.most_a_second * (600 + greatest(0, extract(epoch FROM now() - r.stamp))))::bigint)
    FROM reaper AS r, (VALUES
        (CAST('content_seq' AS regclass), 10000),
        (CAST('session_seq' AS regclass), 1000),
        (CAST(pg_get_serial_sequence('accounts', 'account_id') AS regclass), 100),
        (CAST(pg_get_serial_sequence('schedules', 'schedule_id') AS regclass), 100),
        (CAST(pg_get_serial_sequence('webhooks', 'webhook_id') AS regclass), 100),
        (CAST(pg_get_serial_sequence('webhook_deliveries', 'delivery_id') AS regclass), 10000)
    ) AS s(name, most_a_second)
""")
"""Advances the sequences past the ids that were drawn after the backup."""
_PUT_ASSETS = sa.text("UPDATE asset_store SET store_id = :store_id")
"""Writes where the assets of a backup were put."""
_SUMS = sa.text("""
    SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM tasks), (SELECT count(*) FROM leases),
        (SELECT count(*) FROM contents)
""")
"""Counts what a restored database holds."""


class RestoredCounts(NamedTuple):
    """How many rows it has; `running`: leases."""

    accounts: int
    tasks: int
    running: int
    contents: int


def prepare_restored(engine: sa.Engine, store_id: str | None = None) -> RestoredCounts:
    """Prepares the database for replicas; returns what it holds. `store_id`: where its assets were put."""
    with engine.begin() as connection:
        if store_id:
            connection.execute(_PUT_ASSETS, {"store_id": store_id})
        connection.execute(_SKIP_NUMBERS)
        connection.execute(_OPEN_A_GAP)
        connection.execute(_DISCONNECT_WORKERS)
        connection.exec_driver_sql("ANALYZE")
        return RestoredCounts(*connection.execute(_SUMS).one())
