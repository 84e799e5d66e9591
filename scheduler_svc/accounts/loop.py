"""Looks at the budgets of accounts, as every replica does: the first one tells."""

from __future__ import annotations

from scheduler_svc.accounts.work import check_budgets
from scheduler_svc.runtime.calls import Calls

BUDGETS_INTERVAL = 15.0


async def watch_budgets(calls: Calls) -> float:
    await calls.run(check_budgets)
    return BUDGETS_INTERVAL
