"""Accounts."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from scheduler_svc.database.statements import Statements, account_filter
from scheduler_svc.domain.account import Account, AccountChange, NewAccount, Scope
from scheduler_svc.domain.errors import existing

_COLUMNS = """
    account_id, name, max_concurrent_tasks, weight, active, create_time, max_pending_tasks, max_priority,
    max_starts_per_minute, max_asset_bytes
"""
_INSERT_ACCOUNT = sa.text(f"""
    INSERT INTO accounts (
        name, max_concurrent_tasks, weight, max_pending_tasks, max_priority, max_starts_per_minute, max_asset_bytes)
    VALUES (
        :name, :max_concurrent_tasks, :weight, :max_pending_tasks, :max_priority, :max_starts_per_minute,
        :max_asset_bytes)
    RETURNING {_COLUMNS}
""")
"""Creates an account."""
# NULL: unchanged.
_UPDATE_ACCOUNT = sa.text(f"""
    UPDATE accounts SET name = coalesce(CAST(:name AS text), name),
        max_concurrent_tasks = coalesce(CAST(:max_concurrent_tasks AS integer), max_concurrent_tasks),
        weight = coalesce(CAST(:weight AS float8), weight), active = coalesce(CAST(:active AS boolean), active),
        max_pending_tasks = coalesce(CAST(:max_pending_tasks AS integer), max_pending_tasks),
        max_priority = coalesce(CAST(:max_priority AS smallint), max_priority),
        max_starts_per_minute = coalesce(CAST(:max_starts_per_minute AS integer), max_starts_per_minute),
        max_asset_bytes = coalesce(CAST(:max_asset_bytes AS bigint), max_asset_bytes)
    WHERE account_id = :account_id
    RETURNING {_COLUMNS}
""")
"""Changes the settings of an account that are given."""
_GET_ACCOUNT = sa.text(f"SELECT {_COLUMNS} FROM accounts WHERE account_id = :account_id")
"""Reads one account."""
_LIST_ACCOUNTS = sa.text(f"""
    SELECT {_COLUMNS} FROM accounts
    WHERE account_id > :after AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
    ORDER BY account_id LIMIT :limit
""")
"""Reads a page of accounts, by id."""


class Accounts(Statements):
    def insert(self, new: NewAccount) -> Account:
        return Account(*self._row(_INSERT_ACCOUNT, **asdict(new)))

    def update(self, account_id: int, change: AccountChange) -> Account | None:
        return self._one(Account, _UPDATE_ACCOUNT, account_id=account_id, **asdict(change))

    def require(self, account_id: int) -> Account:
        """Reads one account. Raises NotFound."""
        return existing(self._one(Account, _GET_ACCOUNT, account_id=account_id), "account", account_id)

    def require_in(self, scope: Scope) -> None:
        """Raises NotFound if the scope is one account, and it does not exist."""
        if scope.accounts is not None and len(scope.accounts) == 1:
            self.require(scope.accounts[0])

    def list(self, scope: Scope, after: int, limit: int) -> list[Account]:
        return self._all(Account, _LIST_ACCOUNTS, accounts=account_filter(scope), after=after, limit=limit)
