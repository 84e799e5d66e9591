"""Accounts, which own tasks, and callers: which accounts' tasks and contents each may reach."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

from scheduler_svc.domain.errors import AccountForbidden, RoleForbidden

DEFAULT_WEIGHT = 1.0


class BudgetMode(IntEnum):
    """The numbers are the contract's."""

    SOFT = 1
    HARD = 2


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """The fields of an account that a caller sets. 0 means no limit; of `max_asset_bytes`, the scheduler's default."""

    name: str
    max_concurrent_tasks: int = 0
    weight: float = DEFAULT_WEIGHT
    max_pending_tasks: int = 0
    max_priority: int = 0
    max_starts_per_minute: int = 0
    max_asset_bytes: int = 0
    max_cost_per_month: float = 0.0
    budget_mode: int = BudgetMode.SOFT
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account(AccountSettings):
    """An account as in the contract."""

    account_id: int
    active: bool
    create_time: datetime
    month_cost: float
    """0 without a budget."""

    @property
    def budget_used_up(self) -> bool:
        return used_up(self.max_cost_per_month, self.month_cost)


def used_up(limit: float, cost: float) -> bool:
    """Returns whether a budget is; a limit of 0 is none."""
    return 0 < limit <= cost


class Budget(NamedTuple):
    """How the budget of an account stands in this month; one that it had is over if `limit` is 0."""

    account_id: int
    limit: float
    mode: BudgetMode
    currency: str
    cost: float
    month: datetime
    month_end: datetime
    told: bool
    """Whether it was told of this month that it is used up."""
    stopped_until: datetime | None
    """Until when nothing starts because of it."""

    @property
    def used_up(self) -> bool:
        return used_up(self.limit, self.cost)

    @property
    def stops_until(self) -> datetime | None:
        """Until when nothing should start."""
        return self.month_end if self.used_up and self.mode == BudgetMode.HARD else None

    @property
    def is_due(self) -> bool:
        """Whether it is to be told of, or its stop to be changed."""
        return (self.used_up and not self.told) or self.stops_until != self.stopped_until


@dataclass(frozen=True, slots=True)
class AccountChange:
    """New values of an account's fields; None leaves a field unchanged."""

    name: str | None = None
    max_concurrent_tasks: int | None = None
    weight: float | None = None
    active: bool | None = None
    max_pending_tasks: int | None = None
    max_priority: int | None = None
    max_starts_per_minute: int | None = None
    max_asset_bytes: int | None = None
    max_cost_per_month: float | None = None
    budget_mode: int | None = None
    currency: str | None = None


ALL_ACCOUNTS = 0


# Callers, and what each may reach.


class Role(StrEnum):
    CLIENT = "client"
    REVIEWER = "reviewer"
    PUBLISHER = "publisher"
    VIEWER = "viewer"
    WORKER = "worker"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Scope:
    """The accounts whose tasks and contents a call reaches; None: all."""

    accounts: tuple[int, ...] | None = None

    @classmethod
    def of(cls, account_id: int) -> Scope:
        """Returns the scope of one account, or (0) of all."""
        return cls((account_id,)) if account_id else ALL

    def __contains__(self, account_id: int) -> bool:
        return self.accounts is None or account_id in self.accounts


ALL = Scope()


class CallerIdentity(NamedTuple):
    """A caller; a tuple, since most calls make one.

    `name` is empty if no tokens are required. `scope` holds the accounts that its token is tied to, and in a call that
    names accounts only these. One that `delegates` calls only for persons whom its calls name.
    """

    name: str
    role: Role
    scope: Scope = ALL
    delegates: bool = False

    def require(self, allowed: frozenset[Role], rpc: str) -> None:
        if self.role not in allowed:
            raise RoleForbidden(self.name, self.role, rpc, sorted(allowed))

    def about(self, account_ids: set[int]) -> CallerIdentity:
        """Returns the caller in a call about these accounts. Raises AccountForbidden, but not for an id below 0."""
        for account_id in account_ids:
            if account_id > 0 and account_id not in self.scope:
                raise AccountForbidden(self.name, f"account {account_id}", account_id=account_id)
        return CallerIdentity(self.name, self.role, Scope(tuple(account_ids)))

    def require_all_accounts(self, what: str) -> None:
        """Raises AccountForbidden if the caller is tied to accounts: the call affects every account's tasks."""
        if self.scope != ALL:
            raise AccountForbidden(self.name, what)


ANONYMOUS = "anonymous"
"""Who does something, if there is neither a token nor a name in the request."""
ANYONE = CallerIdentity("", Role.OPERATOR)
"""Every caller, if no tokens are required: whoever reaches the port may call everything."""
