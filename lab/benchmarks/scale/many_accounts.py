"""Ten thousand accounts of different weights, and one at its limit with a long backlog: how quick is a drain?

How fair it is, `fairness` finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from grpc import aio

from contentgen.v1 import account_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from lab.benchmarks import scenario
from lab.benchmarks.measures import IN_FLIGHT
from lab.benchmarks.scale.case import Case, Size, Sizes
from lab.benchmarks.scale.drains import BATCH, drain, load, waiting_workers, warm
from lab.benchmarks.scale.fairness import Limit, fairness, shares
from lab.benchmarks.scale.rows import Row
from lab.benchmarks.stack import Stack

SUBMITS = "accounts: submits"
DRAINS = "accounts: drains"
SHARES = "accounts: shares of the starts while every account has tasks that wait"
FAIRNESS = "accounts: fairness"
WEIGHTS = (1, 2, 5, 10)
_CAPPED_WEIGHT = 1_000
"""Without its limit the capped account would be served again and again."""
_FEW = 4
_WORKERS = 2
_CALLS_IN_FLIGHT = 32


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """Each number of accounts; many of them beside a capped one, too."""
    for accounts in sizes.all("counts"):
        for capped in (0, sizes.one("capped")) if accounts > _FEW else (0,):
            async for row in _measured(folder, sizes, accounts, capped):
                yield row


async def _measured(folder: Path, sizes: Sizes, accounts: int, capped: int) -> AsyncIterator[Row]:
    tasks, part = sizes.one("tasks"), sizes.one("part")
    parameters = {"accounts": accounts, "waiting at a capped one": capped}
    async with warm(folder, sizes) as (stack, meter):
        limit = Limit(stack, await _capped(stack, capped, sizes.one("cap")), sizes.one("cap"))
        weights = await _made(stack, accounts)
        yield Row(SUBMITS, {**parameters, **await load(stack, meter, tasks)})
        async with waiting_workers(stack, _WORKERS) as fleet, limit.watched():
            yield Row(DRAINS, {**parameters, "drained": part, **await drain(stack, meter, fleet, part)})
            completed = fleet.completed
        await asyncio.to_thread(scenario.check, stack, tasks + capped, completed)
        if accounts > _FEW:
            for weight, values in shares(stack, weights, part).items():
                yield Row(SHARES, {**parameters, "weight": weight, **values})
            yield Row(FAIRNESS, {**parameters, **fairness(stack, weights, part), **(limit.values() if capped else {})})


async def _capped(stack: Stack, tasks: int, cap: int) -> int:
    """Returns an account with a limit and so many tasks; its id."""
    async with aio.insecure_channel(stack.target) as channel:
        request = pb.CreateAccountRequest(name="capped", max_concurrent_tasks=cap, weight=_CAPPED_WEIGHT)
        stack.accounts = [(await AccountServiceStub(channel).CreateAccount(request)).account.account_id]
    if tasks:
        await scenario.load(stack, tasks, batch=min(BATCH, tasks), in_flight=IN_FLIGHT)
    return stack.accounts[0]


async def _made(stack: Stack, count: int) -> dict[int, int]:
    """Returns the weights of so many new accounts, which the next load is for."""
    places = asyncio.Semaphore(_CALLS_IN_FLIGHT)
    async with aio.insecure_channel(stack.target) as channel:
        stub = AccountServiceStub(channel)

        async def make(number: int) -> tuple[int, int]:
            weight = WEIGHTS[number % len(WEIGHTS)]
            async with places:
                response = await stub.CreateAccount(pb.CreateAccountRequest(name=f"weighted {number}", weight=weight))
            return response.account.account_id, weight

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
