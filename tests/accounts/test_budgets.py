"""What an account's contents of a month may cost: told once, and with a hard budget nothing starts beyond it."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from scheduler_svc.accounts.work import check_free_budget, due_budgets
from scheduler_svc.domain.account import BudgetMode
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.lease import AttemptCompleted
from scheduler_svc.domain.task import PendingReason
from tests.harness.scheduling import Scheduling

pytestmark = pytest.mark.integration


def spend(scheduling: Scheduling, account_id: int, cost: float) -> None:
    """Completes a task whose content has cost that much."""
    scheduling.submit_one(account_id=account_id)
    scheduling.admit()
    [grant] = scheduling.serve(1)
    scheduling.end(grant.ref, AttemptCompleted(TaskResult("a body", usage={"cost": cost})))


def check_budgets(scheduling: Scheduling) -> list[bool]:
    """Does what the loop does; returns whether each account that was due was free."""
    _, due = scheduling.run(due_budgets)
    return [scheduling.run(check_free_budget, account_id) for account_id in due]


def told(scheduling: Scheduling) -> list[dict[str, object]]:
    rows = scheduling.sql("SELECT data::text FROM webhook_deliveries WHERE event_type = 'account.budget_used_up'")
    return [json.loads(data) for (data,) in rows]


def test_a_soft_budget_is_told_of_once_and_holds_nothing(scheduling: Scheduling) -> None:
    account_id = scheduling.make_account(max_cost_per_month=1.0, currency="CNY")
    scheduling.hook(account_id)
    spend(scheduling, account_id, 0.75)
    check_budgets(scheduling)
    assert not told(scheduling)
    spend(scheduling, account_id, 0.25)
    for _ in range(2):
        check_budgets(scheduling)
    [event] = told(scheduling)
    assert (event["cost"], event["max_cost_per_month"], event["currency"]) == (1.0, 1.0, "CNY")
    spend(scheduling, account_id, 5.0)
    assert scheduling.run(lambda tx: tx.accounts.require(account_id)).month_cost == 6.0


def test_a_hard_budget_lets_nothing_start_until_it_is_raised_or_the_month_ends(scheduling: Scheduling) -> None:
    account_id = scheduling.make_account(max_cost_per_month=1.0, budget_mode=BudgetMode.HARD)
    spend(scheduling, account_id, 2.5)
    waiting = scheduling.fill(account_id, 3)
    check_budgets(scheduling)
    scheduling.admit()
    assert not scheduling.serve(5)
    _task, reason, until = scheduling.explain(waiting[0])
    assert reason is PendingReason.BUDGET
    assert until is not None
    assert (until.day, until.hour) == (1, 0)

    scheduling.pause(account_id)
    assert scheduling.explain(waiting[0])[1] is PendingReason.PAUSED
    scheduling.resume(account_id)
    assert scheduling.explain(waiting[0])[1] is PendingReason.BUDGET
    assert not scheduling.serve(5)

    scheduling.change_account(account_id, max_cost_per_month=10.0)
    scheduling.admit()
    assert len(scheduling.serve(1)) == 1
    scheduling.change_account(account_id, max_cost_per_month=2.0)
    scheduling.admit()
    assert not scheduling.serve(5)

    # A month passes: the costs are those of the last one.
    scheduling.sql("UPDATE rollup_deltas SET hour = hour - interval '32 days' RETURNING 1")
    scheduling.sql("UPDATE task_rollups SET time = time - interval '32 days' WHERE resolution = 2 RETURNING 1")
    check_budgets(scheduling)
    scheduling.admit()
    assert len(scheduling.serve(5)) == 2
    scheduling.check()


@pytest.mark.parametrize("table", ["accounts", "shares"])
def test_an_account_that_is_locked_delays_no_other(scheduling: Scheduling, engine: sa.Engine, table: str) -> None:
    locked, free = (scheduling.make_account(max_cost_per_month=1.0, budget_mode=BudgetMode.HARD) for _ in range(2))
    for account_id in (locked, free):
        scheduling.hook(account_id)
        spend(scheduling, account_id, 2.5)
    with engine.begin() as other:
        other.execute(sa.text(f"SELECT FROM {table} WHERE account_id = {locked} FOR UPDATE"))
        assert check_budgets(scheduling) == [False, True]
        assert [event["account_id"] for event in told(scheduling)] == [free]
    assert check_budgets(scheduling) == [True]
    assert [event["account_id"] for event in told(scheduling)] == [free, locked]
