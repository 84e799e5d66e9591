"""The order of a list of contents of all accounts that are not approved."""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0017"
down_revision = "0016"
oldest_code = "0001"


def upgrade() -> None:
    build_index("contents_to_review_by_id", "contents (content_id) WHERE review_status <> 2")
