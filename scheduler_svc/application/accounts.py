"""Making and changing accounts."""

from __future__ import annotations

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.account import Account, AccountChange
from scheduler_svc.domain.errors import NotFound


def create_account(tx: Tx, name: str, max_concurrent_tasks: int, weight: float) -> Account:
    """Makes an account; the database gives its id, from 1."""
    return tx.accounts.insert(name, max_concurrent_tasks, weight)


def update_account(tx: Tx, account_id: int, change: AccountChange) -> Account:
    """The account after the change. Raises NotFound."""
    account = tx.accounts.update(account_id, change)
    if account is None:
        raise NotFound("account", account_id)
    return account
