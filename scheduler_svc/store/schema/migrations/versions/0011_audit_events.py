"""Audit events."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
oldest_code = "0001"

_DDL = """
CREATE SEQUENCE audit_seq;

CREATE TABLE audit_events (
    event_key BIGINT NOT NULL,
    actor TEXT NOT NULL,
    account_id BIGINT NOT NULL,
    method TEXT NOT NULL,
    resource TEXT NOT NULL,
    outcome TEXT NOT NULL,
    CONSTRAINT audit_events_pkey PRIMARY KEY (event_key),
    CONSTRAINT audit_events_resource CHECK (length(resource) <= 200)
);
CREATE INDEX audit_events_by_account ON audit_events (account_id, event_key);
CREATE INDEX audit_events_by_method ON audit_events (method, event_key)
    WHERE method NOT IN ('TaskService/SubmitTask', 'TaskService/BatchSubmitTasks');
"""


def upgrade() -> None:
    """Creates the table, and the sequence that numbers replicas in its keys."""
    op.execute(_DDL)
