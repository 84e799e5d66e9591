"""How many tasks need workers: read from the database, so that every replica says the same."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.tasks.ledger import ALL_ACCOUNTS
from scheduler_svc.domain.demand import total_demand
from scheduler_svc.domain.errors import NotFound

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

MAX_AGE = 1.0
"""Seconds for which a demand that was read is returned again, so that callers cost the database no more than one."""


def read_demand(tx: Tx, account_id: int) -> int:
    """The demand of an account, or (0) of all. Raises NotFound."""
    if account_id == ALL_ACCOUNTS:
        return total_demand(*tx.loads.all())
    load = tx.loads.of(account_id)
    if load is None:
        raise NotFound("account", account_id)
    return load.demand


class _Reading(NamedTuple):
    begun: float
    task: asyncio.Task[int]

    @property
    def is_fresh(self) -> bool:
        """Whether it may be returned: it is under way, or was read within MAX_AGE."""
        failed = self.task.done() and (self.task.cancelled() or self.task.exception() is not None)
        return not failed and (not self.task.done() or time.monotonic() - self.begun < MAX_AGE)


class Demands:
    """Reads demands, for all who ask at once. Lives on the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._readings: dict[int, _Reading] = {}

    async def of(self, account_id: int) -> int:
        """The demand of an account, or (0) of all, as of MAX_AGE ago at most. Raises NotFound, StoreUnavailable."""
        reading = self._readings.get(account_id)
        if reading is None or not reading.is_fresh:
            self._readings = {key: it for key, it in self._readings.items() if it.is_fresh}
            task = asyncio.create_task(self._calls.run(read_demand, account_id))
            reading = self._readings[account_id] = _Reading(time.monotonic(), task)
        return await asyncio.shield(reading.task)  # a caller that leaves does not end it for the others
