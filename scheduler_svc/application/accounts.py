"""Making accounts."""

from __future__ import annotations

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.account import Account


def create_account(tx: Tx, name: str, max_concurrent_tasks: int, weight: float) -> Account:
    """Makes an account; the database gives its id, from 1."""
    return tx.accounts.insert(name, max_concurrent_tasks, weight)
