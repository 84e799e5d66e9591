"""Access paths: SQL that the planner can serve by one index only, whatever it believes of the tables.

A plan is kept for as long as its connection lives (see `transactions`). One that was made while a table was empty reads
that table from end to end, or takes another index than that of the key. So a lookup by key is a subquery that can't be
flattened (`OFFSET 0`), or has an order that one index alone provides. What a statement deletes it finds by
`= ANY(ARRAY(SELECT …))` for the same reason, since IN would become a join.

Lists of several accounts read a range of an index for each, and merge them: a late page costs what the first one costs.
With `account_id = ANY(…)` alone the planner would sort all rows of these accounts, or walk past those of others.
"""

from __future__ import annotations

from scheduler_svc.domain.access import Scope
from scheduler_svc.store.engine.batch import array

EACH_ACCOUNT = "unnest(CAST(:accounts AS bigint[])) AS a(own)"
"""For FROM: each account of the scope, as `a.own` in the LATERAL query behind it."""


def payload(of: str) -> str:
    """For FROM: `p`, the payload of the task that a row of `of` names by its `task_key`."""
    return f"LATERAL (SELECT * FROM task_payloads AS x WHERE x.task_key = {of}.task_key OFFSET 0) AS p"


def task(of: str, name: str) -> str:
    """For FROM: that task as `name`. Its `ctid` is stable for whoever has locked the task or its lease."""
    same = f"x.task_key BETWEEN {of}.task_key AND {of}.task_key"
    return f"LATERAL (SELECT x.ctid, x.* FROM tasks AS x WHERE {same} ORDER BY x.task_key) AS {name}"


def leased(of: str) -> str:
    """A condition: whether that task has a lease, revoked or not."""
    return f"EXISTS (SELECT FROM leases AS x WHERE x.task_key = {of}.task_key OFFSET 0)"


def accounts(scope: Scope) -> dict[str, str]:
    """The parameter of `EACH_ACCOUNT`; empty if the scope is all accounts, which needs another statement."""
    return {} if scope.accounts is None else {"accounts": array("bigint", scope.accounts)}


def of_each_account(scope: Scope, most: int) -> int:
    """How many rows of each account a page examines, of `most` in all; at least one."""
    return max(1, most // len(scope.accounts or (0,)))


def account_filter(scope: Scope) -> str | None:
    """The accounts as an array; None for all. For `CAST(:accounts AS bigint[]) IS NULL OR …` on small tables."""
    return None if scope.accounts is None else array("bigint", scope.accounts)
