"""Accounts: what clients change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.dispatch.admission import settle
from scheduler_svc.domain.account import Account, AccountChange, AccountSettings
from scheduler_svc.webhooks.work import store_budget

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


def create_account(tx: Tx, new: AccountSettings) -> Account:
    """Creates an account; the database draws its id, from 1."""
    tx.signals.limits = new.max_concurrent_tasks > 0
    account = tx.accounts.insert(new)
    if new.max_starts_per_minute:
        tx.start_quotas.add(account.account_id)
    return account


def update_account(tx: Tx, account_id: int, change: AccountChange) -> tuple[Account, Account]:
    """Returns the account before and after the change. Raises NotFound.

    A new weight, limit or start quota also holds for waiting tasks, from the commit on; other quotas hold for later
    submits.
    """
    before_and_after = tx.accounts.update(account_id, change)
    rate = change.max_starts_per_minute
    limited = change.max_concurrent_tasks is not None or rate is not None
    if limited:
        tx.signals.limits = True
        tx.window.close(account_id)  # without a limit, `settle` opens it again at once
    if rate:
        tx.start_quotas.add(account_id)
    if limited or change.weight is not None:
        settle(tx, account_id, reweighted=change.weight is not None)
    if rate == 0:
        tx.start_quotas.remove(account_id)
    if change.max_cost_per_month is not None or change.budget_mode is not None:
        check_budget(tx, account_id)
    return before_and_after


def due_budgets(tx: Tx) -> tuple[bool, list[int]]:
    """Returns whether there are budgets, and the accounts of those about which something is to be done."""
    budgets = tx.accounts.budgets()
    return bool(budgets), [budget.account_id for budget in budgets if budget.is_due]


def check_free_budget(tx: Tx, account_id: int) -> bool:
    """Does `check_budget` unless another session has locked the account; returns whether it did."""
    free = tx.accounts.try_lock(account_id) and not tx.window.try_lock([account_id])
    if free:
        check_budget(tx, account_id)
    return free


def check_budget(tx: Tx, account_id: int) -> None:
    """Tells of a budget that is used up, once a month; a hard one stops or lets go the starts of its account."""
    for budget in tx.accounts.budgets(account_id):
        if budget.used_up and not budget.told and tx.accounts.tell_budget(budget):
            store_budget(tx, budget)
        if budget.stops_until != budget.stopped_until:
            tx.pauses.stop(account_id, budget.stops_until)
            tx.window.close(account_id)  # without a stop, `settle` opens it again at once
            settle(tx, account_id)
