"""Looks at the budgets of accounts, after what costs and by a timer, as every replica does: the first one tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scheduler_svc.accounts.work import check_free_budget, due_budgets
from scheduler_svc.runtime.calls import Calls

BUDGETS_INTERVAL, IDLE_INTERVAL = 15.0, 1.0


class BudgetWatch:
    """Lives on the event loop; a Periodic repeats `run_once`."""

    wake: Callable[[], None]

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._any = True
        self._later: asyncio.TimerHandle | None = None

    def spent(self) -> None:
        """Looks again: at once if an account had a budget at the last look, else once a second."""
        if self._any:
            self.wake()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(IDLE_INTERVAL, self._look)

    def _look(self) -> None:
        self._later = None
        self.wake()

    async def run_once(self) -> float:
        """Changes each account in a transaction of its own; those that are locked are looked at again soon."""
        self._any, due = await self._calls.run(due_budgets)
        done = [await self._calls.run(check_free_budget, account_id) for account_id in due]
        return BUDGETS_INTERVAL if all(done) else IDLE_INTERVAL
