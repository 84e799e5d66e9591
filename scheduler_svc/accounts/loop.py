"""Looks at the budgets of accounts, after what costs and by a timer, as every replica does: the first one tells."""

from __future__ import annotations

import time
from collections.abc import Callable

from scheduler_svc.accounts.work import check_budgets
from scheduler_svc.runtime.calls import Calls

BUDGETS_INTERVAL, IDLE_INTERVAL = 15.0, 1.0


class BudgetWatch:
    """Lives on the event loop; a Periodic repeats `run_once`."""

    wake: Callable[[], None]

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._any = True
        self._looked = 0.0

    def spent(self) -> None:
        """Looks again; within a second of the last time only if an account had a budget then."""
        if self._any or time.monotonic() > self._looked + IDLE_INTERVAL:
            self.wake()

    async def run_once(self) -> float:
        self._looked = time.monotonic()
        self._any = await self._calls.run(check_budgets)
        return BUDGETS_INTERVAL
