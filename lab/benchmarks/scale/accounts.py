"""Ten thousand accounts of different weights, and one at its limit with a long backlog: how quick, and how fair?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from contentgen import AsyncContentGenerationClient
from lab.benchmarks import scenario
from lab.benchmarks.measures import IN_FLIGHT
from lab.benchmarks.scale.case import Case, Keep, Row, Size, Sizes, Value
from lab.benchmarks.scale.drains import BATCH, drain, load, waiting_workers, warm
from lab.benchmarks.scenario import WrongCounts
from lab.benchmarks.stack import Stack
from tests.harness.waiting import beside

_STARTS = """
    SELECT t.account_id, count(*)::integer
    FROM (SELECT task_key FROM task_events WHERE status = 2 ORDER BY seq LIMIT {starts}) AS e
        JOIN tasks AS t USING (task_key)
    GROUP BY t.account_id
"""


def shares(starts: Mapping[int, int], weights: Mapping[int, int]) -> dict[int, dict[str, Value]]:
    """Returns of each weight what its accounts got of the first starts, and what they should have got."""
    accounts = {weight: [key for key, other in weights.items() if other == weight] for weight in set(weights.values())}
    total, weighed = sum(starts.values()), sum(weights.values())
    counts = {weight: sum(starts[key] for key in keys) for weight, keys in sorted(accounts.items())}
    return {
        weight: {
            "starts": count,
            "share, %": round(100 * count / total, 2),
            "fair share, %": round(100 * weight * len(accounts[weight]) / weighed, 2),
        }
        for weight, count in counts.items()
    }


def fairness(starts: Mapping[int, int], weights: Mapping[int, int]) -> dict[str, Value]:
    """Returns how far an account was from its share of the first starts at most."""
    share = sum(starts.values()) / sum(weights.values())
    differences = [count - share * weights[account_id] for account_id, count in starts.items()]
    return {
        "starts": sum(starts.values()),
        "accounts without one": sum(not count for count in starts.values()),
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
        async with beside(self._watch()):
            yield
        if self._most > self._limit:
            raise WrongCounts(f"an account with a limit of {self._limit} had {self._most} leases at once")

    async def _watch(self) -> None:
        statement = f"SELECT count(*) FROM leases WHERE account_id = {self._account_id}"
        while True:
            self._most = max(self._most, await asyncio.to_thread(self._stack.query, statement))
            self._looks += 1
            await asyncio.sleep(0.05)

    def values(self) -> dict[str, Value]:
        return {
            "limit of the capped one": self._limit,
            "most leases of it": self._most,
            "looks": self._looks,
            "completed of it": self._stack.query(
                f"SELECT count(*) FROM tasks WHERE account_id = {self._account_id} AND status = 4"
            ),
        }


SUBMITS = "accounts: submits"
SHARES = "accounts: shares of the starts while every account has tasks that wait"
WEIGHTS = (1, 2, 5, 10)
_FEW = 4


async def measure(folder: Path, sizes: Sizes, keep: Keep) -> None:
    for accounts in sizes.all("counts"):
        for capped in (0, sizes.one("capped")) if accounts > _FEW else (0,):
            await _measured(folder, sizes, accounts, capped, keep)


async def _measured(folder: Path, sizes: Sizes, accounts: int, capped: int, keep: Keep) -> None:
    tasks, part = sizes.one("tasks"), sizes.one("part")
    parameters = {"accounts": accounts, "waiting at a capped one": capped}
    async with warm(folder, sizes) as (stack, meter):
        limit = Limit(stack, await _capped(stack, capped, sizes.one("cap")), sizes.one("cap"))
        weights = await _make_accounts(stack, accounts)
        keep(Row(SUBMITS, {**parameters, **await load(stack, meter, tasks)}))
        async with waiting_workers(stack, 2) as fleet, limit.watched():
            keep(Row("accounts: drains", {**parameters, "drained": part, **await drain(stack, meter, fleet, part)}))
            completed = fleet.completed
        await asyncio.to_thread(scenario.check, stack, tasks + capped, completed)
        if accounts > _FEW:
            counts = dict(stack.rows(_STARTS.format(starts=part)))
            starts = {account_id: counts.get(account_id, 0) for account_id in weights}
            for weight, values in shares(starts, weights).items():
                keep(Row(SHARES, {**parameters, "weight": weight, **values}))
            keep(
                Row(
                    "accounts: fairness",
                    {**parameters, **fairness(starts, weights), **(limit.values() if capped else {})},
                )
            )


async def _capped(stack: Stack, tasks: int, cap: int) -> int:
    """Returns the id of an account with a limit and so many tasks, which without it would be served again and again."""
    async with AsyncContentGenerationClient(stack.target) as client:
        stack.accounts = [(await client.create_account("capped", cap, 1_000))["account_id"]]
    if tasks:
        await scenario.load(stack, tasks, batch=min(BATCH, tasks), in_flight=IN_FLIGHT)
    return stack.accounts[0]


async def _make_accounts(stack: Stack, count: int) -> dict[int, int]:
    places = asyncio.Semaphore(32)
    async with AsyncContentGenerationClient(stack.target) as client:

        async def make(number: int) -> tuple[int, int]:
            weight = WEIGHTS[number % len(WEIGHTS)]
            async with places:
                account = await client.create_account(f"weighted {number}", weight=weight)
            return account["account_id"], weight

        weights = dict(await asyncio.gather(*map(make, range(count))))
    stack.accounts = list(weights)
    return weights


CASE = Case(
    "accounts",
    "Drains over few and many accounts of weights 1, 2, 5 and 10, and beside one at its limit.",
    "5 minutes",
    measure,
    {
        "counts": Size((_FEW, 10_000, _FEW), (8,), "accounts, by comma"),
        "tasks": Size((200_000,), (1_000,), "tasks that wait, of each account in turn"),
        "part": Size((80_000,), (200,), "tasks that are drained: less than half, so that all accounts have some left"),
        "cap": Size((20,), (5,), "tasks of the capped account that may run at once"),
        "capped": Size((100_000,), (100,), "tasks that wait at it"),
    },
)
