"""An index for hellos: the leases of a worker, without a look at those of all the others."""

from __future__ import annotations

from scheduler_svc.store.migrations.online import build_index

revision = "0017"
down_revision = "0010"
oldest_code = "0008"


def upgrade() -> None:
    """Beside replicas that write leases."""
    build_index("leases_by_worker", "leases (worker_id, task_key)")
