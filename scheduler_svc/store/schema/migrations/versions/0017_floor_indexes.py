"""Indexes for hellos (the leases of a worker) and for submits (the deltas that are not folded yet)."""

from __future__ import annotations

from scheduler_svc.store.schema.migrations.online import build_index

revision = "0017"
down_revision = "0016"
oldest_code = "0008"


def upgrade() -> None:
    """Beside replicas that write both tables."""
    build_index("leases_by_worker", "leases (worker_id, task_key)")
    build_index("count_deltas_by_transaction", "count_deltas (account_id, kind, xact)")
