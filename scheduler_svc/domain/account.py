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
