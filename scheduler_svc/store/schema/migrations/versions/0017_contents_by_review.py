"""The order of lists of contents that wait for a review, or are rejected."""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0017"
down_revision = "0016"
oldest_code = "0001"

_NOT_APPROVED = "WHERE review_status <> 2"


def upgrade() -> None:
    build_index("contents_by_review", f"contents (review_status, content_id) {_NOT_APPROVED}")
    build_index("contents_by_review_and_account", f"contents (review_status, account_id, content_id) {_NOT_APPROVED}")
