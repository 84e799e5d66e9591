"""The erasure of an account, a bounded number of rows in each transaction.

What tells of tasks and contents goes before what they are found by: marks of imports, tasks, contents, assets, then the
rows of all other tables until none has any, and the account last. No row comes back: submits are refused from the first
transaction on, attempts are cancelled, and tasks stay until their leases are gone, so that no report finds a task whose
rows it could write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.accounts.work import update_account
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.holdings.tables import IMPORTED, OWN, countable, tables
from scheduler_svc.tasks import bulk

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx

MAX_BATCH = 500
"""Rows that one transaction deletes."""


def left(tx: Tx, account_id: int) -> dict[str, int]:
    """Returns how many rows of each kind are left. Calls that named an account after its erasure are none."""
    counts = tx.holdings.count(account_id)
    return {} if counts.keys() <= {"audit_events"} else counts


def count(tx: Tx, account_id: int) -> dict[str, int]:
    """Returns how many rows of each kind an account has. Raises NotFound if nothing is left of it."""
    counts = left(tx, account_id)
    if not counts:
        raise NotFound("account", account_id)
    return counts


def begin(tx: Tx, account_id: int) -> bool:
    """Refuses the account's submits and ends its webhooks; returns whether submits may be under way. Raises NotFound.

    An account that is gone may have left rows: of a transaction that had begun before.
    """
    counts = count(tx, account_id)
    tx.holdings.end_webhooks(account_id)
    tx.signals.webhooks = True
    if "accounts" not in counts or not tx.accounts.require(account_id).active:
        return False
    update_account(tx, account_id, AccountChange(active=False))
    return True


def forget_imports(tx: Tx, account_id: int) -> int:
    """Deletes what is remembered of where the account came from."""
    imported = [table for table in tables() if table.by == IMPORTED]
    return tx.holdings.delete(imported, account_id, MAX_BATCH)


def delete_tasks(tx: Tx, account_id: int) -> int:
    """Deletes ended tasks with all that is theirs; returns how many."""
    keys = tx.holdings.lock_tasks(account_id, MAX_BATCH)
    bulk.delete(tx, keys)
    return len(keys)


def delete_contents(tx: Tx, account_id: int) -> int:
    """Deletes contents with all that is theirs; returns how many."""
    content_ids = tx.holdings.lock_contents(account_id, MAX_BATCH)
    tx.contents.delete(content_ids)
    return len(content_ids)


def retire_assets(tx: Tx, account_id: int) -> int:
    return tx.holdings.retire_assets(account_id, MAX_BATCH)


def delete_rest(tx: Tx, account_id: int) -> int:
    """Deletes rows of the other tables; returns how many. What webhooks name goes before them, the account last."""
    tx.holdings.keep_mark(account_id)
    rest = sorted(countable(), key=lambda table: (table.name == "accounts", table.by == OWN, table.name))
    return tx.holdings.delete(rest, account_id, MAX_BATCH)
