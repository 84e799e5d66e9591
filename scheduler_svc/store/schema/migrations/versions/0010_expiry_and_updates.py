"""The waiting tasks that expire, by their time; and moves from pending to pending, by UpdateTask.

The indexes hold no task without an `expire_time`.
"""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index, widen_check

revision = "0010"
down_revision = "0009"
oldest_code = "0001"

_MOVES = "1, 11, 12, 14, 17, 21, 23, 25, 26, 27, 31, 34, 35, 36, 37, 51, 61"


def upgrade() -> None:
    """Each step starts again if it was interrupted."""
    build_index("ready_expiry", "ready (expire_time, task_key) WHERE expire_time IS NOT NULL")
    build_index("delayed_expiry", "delayed (expire_time, task_key) WHERE expire_time IS NOT NULL")
    widen_check(
        "task_events",
        "task_events_legal_move",
        f"status BETWEEN 0 AND 9 AND previous_status * 10 + status IN ({_MOVES})",
    )
