"""Making and changing accounts."""

from __future__ import annotations

from scheduler_svc.application.admission import settle
from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.account import Account, AccountChange
from scheduler_svc.domain.errors import NotFound


def create_account(tx: Tx, name: str, max_concurrent_tasks: int, weight: float) -> Account:
    """Makes an account; the database gives its id, from 1."""
    tx.signals.limits = max_concurrent_tasks > 0
    return tx.accounts.insert(name, max_concurrent_tasks, weight)


def update_account(tx: Tx, account_id: int, change: AccountChange) -> Account:
    """The account after the change; a new weight or limit holds for what waits, from the commit on. Raises NotFound."""
    account = tx.accounts.update(account_id, change)
    if account is None:
        raise NotFound("account", account_id)
    if change.max_concurrent_tasks is not None:
        tx.signals.limits = True
        tx.window.close(account_id)  # a limit that is gone opens it again at once
    if change.max_concurrent_tasks is not None or change.weight is not None:
        settle(tx, account_id, reweighted=change.weight is not None)
    return account
