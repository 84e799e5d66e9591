"""Accounts, which own tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Account:
    """An account as in the contract. 0 means no limit; for `max_asset_bytes` it means the scheduler's default."""

    account_id: int
    name: str
    max_concurrent_tasks: int
    weight: float
    active: bool
    create_time: datetime
    max_pending_tasks: int
    max_priority: int
    max_starts_per_minute: int
    max_asset_bytes: int


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits of an account's submits, starts and assets; 0 as in `Account`."""

    max_pending_tasks: int = 0
    max_priority: int = 0
    max_starts_per_minute: int = 0
    max_asset_bytes: int = 0


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


ALL_ACCOUNTS = 0
