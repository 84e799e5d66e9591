"""An account: whom tasks belong to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Account:
    """As the contract has it; `max_concurrent_tasks` 0 means no limit."""

    account_id: int
    name: str
    max_concurrent_tasks: int
    weight: float
    active: bool
    create_time: datetime


@dataclass(frozen=True, slots=True)
class AccountChange:
    """New values of an account's fields; None leaves a field as it is."""

    name: str | None = None
    max_concurrent_tasks: int | None = None
    weight: float | None = None
    active: bool | None = None
