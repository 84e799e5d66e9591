"""What WatchTasks reads: moves in the order of their numbers, and up to which number they were cleaned up."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

_DDL = """
ALTER TABLE task_events ADD COLUMN retry_count SMALLINT;
UPDATE task_events SET retry_count = CAST(substring(message FROM '^retry ([0-9]+) of') AS smallint)
    WHERE reason IN ('AUTO_RETRY', 'RETRY_TASK');
ALTER TABLE task_events ALTER COLUMN seq
    SET DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('event_seq') END;
CREATE INDEX task_events_by_seq ON task_events (seq);
CREATE TABLE cleaned_events (
    account_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    CONSTRAINT cleaned_events_pkey PRIMARY KEY (account_id)
);
CREATE INDEX cleaned_events_by_seq ON cleaned_events (seq);
"""


def upgrade() -> None:
    """Moves that are there keep their numbers; writers wait while the index is built."""
    op.execute(_DDL)
