"""The waiting tasks that expire, by their time. They hold no task without one."""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0011"
down_revision = "0010"
oldest_code = "0001"


def upgrade() -> None:
    build_index("ready_expiry", "ready (expire_time, task_key) WHERE expire_time IS NOT NULL")
    build_index("delayed_expiry", "delayed (expire_time, task_key) WHERE expire_time IS NOT NULL")
