"""The order in which contents that wait for a review are given to reviewers."""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0005"
down_revision = "0004"
oldest_code = "0001"


def upgrade() -> None:
    build_index("contents_waiting", "contents (create_time, content_id) WHERE review_status = 1")
    build_index("contents_waiting_by_account", "contents (account_id, create_time, content_id) WHERE review_status = 1")
    build_index("contents_held", "contents (review_holder, review_claim_expire_time) WHERE review_holder IS NOT NULL")
