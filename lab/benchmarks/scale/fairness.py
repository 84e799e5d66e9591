"""Who was started first: the share of each weight, and whether an account at its limit stayed there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from lab.benchmarks.scale.rows import Value
from lab.benchmarks.scenario import WrongCounts
from lab.benchmarks.stack import Stack

_LOOK_S = 0.05
_STARTS = """
    SELECT t.account_id, count(*)::integer
    FROM (SELECT task_key FROM task_events WHERE status = 2 ORDER BY seq LIMIT {starts}) AS e
        JOIN tasks AS t USING (task_key)
    GROUP BY t.account_id
"""

_LEASES = "SELECT count(*) FROM leases WHERE account_id = {account_id}"
_COMPLETED = "SELECT count(*) FROM tasks WHERE account_id = {account_id} AND status = 4"


def _starts(stack: Stack, weights: Mapping[int, int], starts: int) -> dict[int, int]:
    """Returns how many of the first ones each account had; those of others are left out."""
    counts = dict(stack.rows(_STARTS.format(starts=starts)))
    return {account_id: counts.get(account_id, 0) for account_id in weights}


def shares(stack: Stack, weights: Mapping[int, int], starts: int) -> dict[int, dict[str, Value]]:
    """Of each weight: what its accounts got of the first starts, and what they should have got."""
    starts_by_account = _starts(stack, weights, starts)
    starts_by_weight: dict[int, int] = dict.fromkeys(sorted(set(weights.values())), 0)
    for account_id, weight in weights.items():
        starts_by_weight[weight] += starts_by_account[account_id]
    total, weighed = sum(starts_by_account.values()), sum(weights.values())
    return {
        weight: {
            "starts": count,
            "share, %": round(100 * count / total, 2),
            "fair share, %": round(100 * sum(other for other in weights.values() if other == weight) / weighed, 2),
        }
        for weight, count in starts_by_weight.items()
    }


def fairness(stack: Stack, weights: Mapping[int, int], starts: int) -> dict[str, Value]:
    """Returns how far an account was from its share of the first starts at most."""
    starts_by_account = _starts(stack, weights, starts)
    share = sum(starts_by_account.values()) / sum(weights.values())
    differences = [count - share * weights[account_id] for account_id, count in starts_by_account.items()]
    return {
        "starts": sum(starts_by_account.values()),
        "accounts without one": sum(not count for count in starts_by_account.values()),
        "furthest ahead of its share, tasks": round(max(differences), 1),
        "furthest behind, tasks": round(-min(differences), 1),
    }


class Limit:
    """An account that may have so many leases at once."""

    def __init__(self, stack: Stack, account_id: int, most: int) -> None:
        self._stack = stack
        self._account_id = account_id
        self._limit = most
        self._looks = 0
        self._most = 0

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Counts its leases again and again. Raises WrongCounts at the end if they were ever too many."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        if self._most > self._limit:
            raise WrongCounts(f"an account with a limit of {self._limit} had {self._most} leases at once")

    async def _watch(self) -> None:
        statement = _LEASES.format(account_id=self._account_id)
        while True:
            self._most = max(self._most, await asyncio.to_thread(self._stack.query, statement))
            self._looks += 1
            await asyncio.sleep(_LOOK_S)

    def values(self) -> dict[str, Value]:
        return {
            "limit of the capped one": self._limit,
            "most leases of it": self._most,
            "looks": self._looks,
            "completed of it": self._stack.query(_COMPLETED.format(account_id=self._account_id)),
        }
