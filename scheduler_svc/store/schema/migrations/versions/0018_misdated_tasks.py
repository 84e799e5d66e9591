"""The tasks whose keys have another time than they were created at."""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0018"
down_revision = "0017"
oldest_code = "0001"

_MISDATED = """(create_time - to_timestamp((task_key >> 20)::double precision / 1000))
    NOT BETWEEN interval '-1 hour' AND interval '1 hour'"""


def upgrade() -> None:
    build_index("tasks_misdated", f"tasks (create_time, task_key) WHERE {_MISDATED}")
