"""How many tasks are pending, folded or not: parts of the statements that check the bounds of a submit."""

from __future__ import annotations

from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.store.tasks.history import unfolded


def pending(which: str, deltas: str) -> str:
    """A query for `n`: the folded counts of the accounts that `which` compares, and these deltas."""
    return f"""
        SELECT coalesce(sum(n), 0)::bigint AS n FROM (
            SELECT n FROM task_counts AS k WHERE k.account_id {which} AND k.kind = {Status.PENDING}
            UNION ALL
            {deltas}
        ) AS c
    """


def pending_of(account_id: str) -> str:
    """A query for `n` of one account."""
    return pending(f"= {account_id}", unfolded(account_id, Status.PENDING))
