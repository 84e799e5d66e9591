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
        check_budgets(tx)
    return before_and_after


def check_budgets(tx: Tx) -> bool:
    """Tells of budgets that are used up, once a month, and stops or lets go the starts of accounts with a hard one.

    Returns whether there are any.
    """
    budgets = tx.accounts.budgets()
    for budget in budgets:
        if budget.used_up and not budget.told and tx.accounts.tell_budget(budget):
            store_budget(tx, budget)
        if budget.stops_until != budget.stopped_until:
            tx.pauses.stop(budget.account_id, budget.stops_until)
            tx.window.close(budget.account_id)  # without a stop, `settle` opens it again at once
            settle(tx, budget.account_id)
    return bool(budgets)
