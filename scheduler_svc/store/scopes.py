"""Scopes in SQL: a range of an index for each account, merged, so that a late page costs what the first one costs.

With `account_id = ANY(…)` alone the planner would have to sort all of what these accounts have, or to walk past what
others have.
"""

from __future__ import annotations

from scheduler_svc.domain.access import Scope
from scheduler_svc.store.engine.batch import array

EACH_ACCOUNT = "unnest(CAST(:accounts AS bigint[])) AS a(own)"
"""What to write after FROM: each account of the scope is `a.own` in the LATERAL query behind it."""


def accounts(scope: Scope) -> dict[str, str]:
    """The parameter of `EACH_ACCOUNT`; none where the scope is all accounts, which asks for another statement."""
    return {} if scope.accounts is None else {"accounts": array("bigint", scope.accounts)}


def account_filter(scope: Scope) -> str | None:
    """The accounts as an array, or None for all: for `CAST(:accounts AS bigint[]) IS NULL OR …` on small tables."""
    return None if scope.accounts is None else array("bigint", scope.accounts)
