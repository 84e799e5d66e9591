"""Indexes of the publish pool for what waits for a retry, and for lists by status in the order of claims.

None of them holds an entry that is pending for its first attempt: what completes a task writes none of them.
"""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0003"
down_revision = "0002"
oldest_code = "0001"

_RETRIES = "priority DESC, content_id, next_attempt_time) WHERE next_attempt_time IS NOT NULL"
_MOVED_ON = "status, priority DESC, content_id) WHERE status <> 1 AND next_attempt_time IS NULL"


def upgrade() -> None:
    build_index("publish_pool_retries", f"publish_pool ({_RETRIES}")
    build_index("publish_pool_retries_by_account", f"publish_pool (account_id, {_RETRIES}")
    build_index("publish_pool_moved_on", f"publish_pool ({_MOVED_ON}")
    build_index("publish_pool_moved_on_by_account", f"publish_pool (account_id, {_MOVED_ON}")
