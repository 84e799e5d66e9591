"""Attempts that their CLI deferred, and how long a task waits before its retries."""

from __future__ import annotations

from alembic import op

from scheduler_svc.store.schema.migrations.online import widen_check

revision = "0013"
down_revision = "0012"
oldest_code = "0008"

_DDL = """
ALTER TABLE tasks
    ADD COLUMN IF NOT EXISTS deferrals SMALLINT DEFAULT '0' NOT NULL,
    ADD COLUMN IF NOT EXISTS initial_backoff_ms BIGINT,
    ADD COLUMN IF NOT EXISTS backoff_multiplier FLOAT8,
    ADD COLUMN IF NOT EXISTS max_backoff_ms BIGINT;
"""
_LEGAL_MOVES = """
    status BETWEEN 0 AND 9
    AND previous_status * 10 + status IN (1, 12, 14, 17, 21, 23, 25, 26, 27, 31, 34, 35, 36, 37, 51, 61)
"""


def upgrade() -> None:
    """A replica that does not know the columns leaves their defaults: no deferral, the usual waits.

    Processing to pending (31) is what a deferral adds; each move of the version before stays legal.
    """
    op.execute(_DDL)
    widen_check("task_events", "task_events_legal_move", _LEGAL_MOVES)
