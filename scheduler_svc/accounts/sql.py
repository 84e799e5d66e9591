"""Accounts."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.statements import Statements, account_filter
from scheduler_svc.domain.account import ALL_ACCOUNTS, Account, AccountChange, AccountSettings, Budget, Scope
from scheduler_svc.domain.errors import existing
from scheduler_svc.domain.rollup import COST, Resolution

_MONTH = "date_trunc('month', now(), 'UTC')"
_MONTH_COST = f"""CASE WHEN max_cost_per_month > 0 THEN (
    SELECT coalesce(sum(n), 0) FROM (
        SELECT x.n FROM task_rollups AS x WHERE x.account_id = accounts.account_id
            AND x.resolution = {Resolution.DAY} AND x.time >= {_MONTH} AND x.kind = {COST}
        UNION ALL
        SELECT u.n FROM rollup_deltas AS d, LATERAL unnest(d.kinds, d.numbers) AS u(kind, n)
        WHERE d.account_id = accounts.account_id AND d.hour >= {_MONTH} AND u.kind = {COST}) AS x) ELSE 0 END"""
"""What the contents of a row of `accounts` have cost this month, folded or not; 0 if it has no budget."""
_SETTINGS = [field.name for field in fields(AccountSettings)]
_COLUMNS = f"account_id, active, create_time, {_MONTH_COST}, {', '.join(_SETTINGS)}"
"""As `_account` reads them."""
_INSERT_ACCOUNT = sa.text(f"""
    INSERT INTO accounts ({", ".join(_SETTINGS)}) VALUES ({", ".join(f":{name}" for name in _SETTINGS)})
    RETURNING {_COLUMNS}
""")
"""Creates an account."""
# NULL: unchanged.
_UPDATE_ACCOUNT = sa.text(f"""
    UPDATE accounts SET {", ".join(f"{name} = coalesce(:{name}, {name})" for name in (*_SETTINGS, "active"))}
    WHERE account_id = :account_id
    RETURNING {_COLUMNS}
""")
"""Changes the settings of an account that are given."""
_GET_ACCOUNT = sa.text(f"SELECT {_COLUMNS} FROM accounts WHERE account_id = :account_id")
"""Reads one account."""
_LOCK_ACCOUNT = sa.text(f"{_GET_ACCOUNT.text} FOR NO KEY UPDATE")
"""Reads one account, and locks it."""
_LIST_ACCOUNTS = sa.text(f"""
    SELECT {_COLUMNS} FROM accounts
    WHERE account_id > :after AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
    ORDER BY account_id LIMIT :limit
""")
"""Reads a page of accounts, by id."""

_BUDGETS = sa.text(f"""
    SELECT account_id, max_cost_per_month, budget_mode, currency,
        {_MONTH_COST}, {_MONTH}, {_MONTH} + interval '1 month', coalesce(budget_told_month = {_MONTH}, false),
        (SELECT p.budget_until FROM pauses AS p WHERE p.account_id = accounts.account_id)
    FROM accounts
    WHERE account_id IN (
        SELECT account_id FROM accounts WHERE max_cost_per_month > 0
        UNION SELECT account_id FROM pauses WHERE budget_until IS NOT NULL)
        AND (:account_id = 0 OR account_id = :account_id)
    ORDER BY account_id
""")
"""Reads how budgets stand, and those that have stopped an account: of one account, or (0) of all."""
_TRY_LOCK = sa.text("SELECT FROM accounts WHERE account_id = :account_id FOR NO KEY UPDATE SKIP LOCKED")
"""Locks an account if it is free."""
_TELL_BUDGET = sa.text("""
    UPDATE accounts SET budget_told_month = :month
    WHERE account_id = :account_id AND budget_told_month IS DISTINCT FROM :month
""")
"""Notes that it is told of a month; only the first of several schedulers does."""


class Accounts(Statements):
    def insert(self, new: AccountSettings) -> Account:
        return _account(*self._row(_INSERT_ACCOUNT, **asdict(new)))

    def update(self, account_id: int, change: AccountChange) -> tuple[Account, Account]:
        """Returns the account before and after. Raises NotFound."""
        before = existing(self._one(_account, _LOCK_ACCOUNT, account_id=account_id), "account", account_id)
        return before, _account(*self._row(_UPDATE_ACCOUNT, account_id=account_id, **asdict(change)))

    def budgets(self, account_id: int = ALL_ACCOUNTS) -> list[Budget]:
        return self._all(Budget, _BUDGETS, account_id=account_id)

    def try_lock(self, account_id: int) -> bool:
        """Returns whether the account is there, and no other session has locked it."""
        return bool(self._run(_TRY_LOCK, account_id=account_id))

    def tell_budget(self, budget: Budget) -> bool:
        """Returns whether nobody has told of it so far."""
        return bool(self._run(_TELL_BUDGET, account_id=budget.account_id, month=budget.month))

    def require(self, account_id: int) -> Account:
        """Reads one account. Raises NotFound."""
        return existing(self._one(_account, _GET_ACCOUNT, account_id=account_id), "account", account_id)

    def require_in(self, scope: Scope) -> None:
        """Raises NotFound if the scope is one account, and it does not exist."""
        if scope.accounts is not None and len(scope.accounts) == 1:
            self.require(scope.accounts[0])

    def list(self, scope: Scope, after: int, limit: int) -> list[Account]:
        return self._all(_account, _LIST_ACCOUNTS, accounts=account_filter(scope), after=after, limit=limit)


def _account(account_id: int, active: bool, create_time: datetime, month_cost: float, *settings: Any) -> Account:
    return Account(*settings, account_id=account_id, active=active, create_time=create_time, month_cost=month_cost)
