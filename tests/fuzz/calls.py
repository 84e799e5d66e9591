"""The calls of a campaign: stretches of them for a pool of processes, one order after another."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

from tests.fuzz.attack import Order, attack
from tests.fuzz.known import Known
from tests.fuzz.services import HONEST_ACCOUNT, HOSTILE_ACCOUNTS, Services
from tests.fuzz.tally import Tally

STRETCH = 2_000
"""Calls of one order, at most: a connection's."""


@dataclass(frozen=True)
class Plan:
    """So many calls, in turn to each path, made by so many processes at once."""

    paths: tuple[str, ...]
    seed: int
    calls: int
    processes: int


def make_calls(services: Services, plan: Plan, tally: Tally, done: Callable[[], None]) -> None:
    """Makes the calls, and adds them to `tally`; `done` is called after each stretch."""
    tally.known = Known({"account_id": HOSTILE_ACCOUNTS}, frozenset({HONEST_ACCOUNT, services.worker_id}))
    context = multiprocessing.get_context("spawn")  # the parent has gRPC's threads: it must not fork
    with ProcessPoolExecutor(plan.processes, context) as pool:
        under_way: set[Future[Tally]] = set()
        for order in _orders(services, plan, tally):
            under_way.add(pool.submit(attack, order))
            while len(under_way) > plan.processes:
                under_way = _collect(under_way, tally, done)
        while under_way:
            under_way = _collect(under_way, tally, done)


def _orders(services: Services, plan: Plan, tally: Tally) -> Iterator[Order]:
    """Made as they are needed, each with what is known by then."""
    for first in range(0, plan.calls, STRETCH):
        count = min(STRETCH, plan.calls - first)
        yield Order(services.scheduler.target, services.tokens, plan.paths, plan.seed, first, count, tally.known)


def _collect(under_way: set[Future[Tally]], tally: Tally, done: Callable[[], None]) -> set[Future[Tally]]:
    """Adds up what has ended, at least one; what has not ended yet."""
    ended, left = wait(under_way, return_when=FIRST_COMPLETED)
    for future in ended:
        tally.add(future.result())
        done()
    return left
