"""Drains as more waits behind them, by more workers, by more schedulers on one PostgreSQL, and over many accounts.

Loads and drains are metered: what a span of work has used, for each task of it. Dispatch is paused but for the drain,
which so begins with all workers.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from contentgen import AsyncContentGenerationClient
from lab.benchmarks import scenario
from lab.benchmarks.measures import IN_FLIGHT, MAX_PENDING_TASKS, Options, fresh
from lab.benchmarks.scale.case import Case, Keep, Plot, Row, Size, Sizes, Value
from lab.benchmarks.scale.steady import MIB
from lab.benchmarks.scenario import Fleet, WrongCounts
from lab.benchmarks.stack import START_LIMIT, STOP_LIMIT, Cpu, Stack, environment, scheduler
from tests.harness.processes import free_port
from tests.harness.scrape import Scrape
from tests.harness.waiting import beside


@dataclass(frozen=True, slots=True)
class Reading:
    """So far; the claims are those that leased something or looked for it."""

    at: float
    cpu: Cpu
    wal: float
    claims: float
    claim_s: float

    def used(self, before: Self, tasks: int, end: float) -> dict[str, Value]:
        """Returns a row for so many tasks from the reading before until `end`."""
        cpu = self.cpu - before.cpu
        claims = self.claims - before.claims
        row: dict[str, Value] = {
            "tasks/s": round(tasks / (end - before.at)),
            "scheduler, µs a task": round(cpu.scheduler / tasks * 1e6),
            "PostgreSQL, µs a task": round(cpu.postgres / tasks * 1e6),
            "WAL, KiB a task": round((self.wal - before.wal) / tasks / 1024, 2),
        }
        if claims:
            row |= {"claims": int(claims), "ms a claim": round((self.claim_s - before.claim_s) / claims * 1e3, 1)}
        return row


class Meter:
    def __init__(self, stack: Stack, port: int) -> None:
        self.ports = [port]
        """Of the metrics of all schedulers."""
        self._stack = stack

    async def read(self) -> Reading:
        return await asyncio.to_thread(self._read)

    def _read(self) -> Reading:
        scrapes = [Scrape(port) for port in self.ports]
        claims, claim_s = (
            sum(scrape(f"contentgen_lane_group_seconds_{part}", lane="claims") for scrape in scrapes)
            for part in ("count", "sum")
        )
        cpu = Cpu(sum(scrape("process_cpu_seconds_total") for scrape in scrapes), self._stack.cpu().postgres)
        return Reading(time.monotonic(), cpu, self._stack.wal(), claims, claim_s)


BATCH = 500


@asynccontextmanager
async def warm(folder: Path, sizes: Sizes, **settings: str) -> AsyncIterator[tuple[Stack, Meter]]:
    """Yields a scheduler on an empty database with warm WAL."""
    port = free_port()
    metrics = {"metrics_listen": f"127.0.0.1:{port}", **settings}
    async with fresh(Options(folder), **metrics) as stack:
        if not sizes.quick:
            await asyncio.to_thread(stack.warm_wal)
        yield stack, Meter(stack, port)


async def load(stack: Stack, meter: Meter, tasks: int) -> dict[str, Value]:
    start = await meter.read()
    span = await scenario.load(stack, tasks, batch=min(BATCH, tasks), in_flight=IN_FLIGHT)
    row = (await meter.read()).used(start, tasks, start.at + span.end - span.begin)
    return {name: value for name, value in row.items() if "claim" not in name}


@asynccontextmanager
async def waiting_workers(stack: Stack, count: int, targets: Sequence[str] = ()) -> AsyncIterator[Fleet]:
    """Yields so many workers, connected, that get nothing before `drain`, and then hold 4,000 leases together."""
    async with AsyncContentGenerationClient(stack.target) as client:
        await client.pause_dispatch()
    targets = targets or [stack.target] * 2
    async with scenario.noop_workers(stack, count, max(1, 4_000 // count), targets=targets) as fleet:
        await scenario.connect(stack, fleet, count)
        await asyncio.sleep(1.0)  # their first heartbeats
        yield fleet


async def drain(stack: Stack, meter: Meter, fleet: Fleet, tasks: int) -> dict[str, Value]:
    """Lets the workers complete at least so many more; a row."""
    async with AsyncContentGenerationClient(stack.target) as client:
        await client.pause_dispatch()  # as it is: so the client is connected
        start, done = await meter.read(), fleet.completed
        await client.resume_dispatch()
        end = await fleet.reach(done + tasks)
        end_values = await meter.read()
        await client.pause_dispatch()
    return end_values.used(start, tasks, end)


# The cases.


_DRAINS = "backlog: drains"
_SHORT = 100_000
_PAGES_READ = "SELECT blks_read FROM pg_stat_database WHERE datname = current_database()"
_BY_WORKERS = "workers: drains"
_SCHEDULERS_WORKERS = 4


async def measure_backlog(folder: Path, sizes: Sizes, keep: Keep) -> None:
    """Keeps a row for each step of a load, then for each part of a drain."""
    rates: dict[int, list[float]] = defaultdict(list)
    for backlog in sizes.all("sizes"):
        async with warm(folder, sizes, max_queue_size=str(2 * MAX_PENDING_TASKS)) as (stack, meter):
            for waiting in range(0, backlog, sizes.one("step")):
                values = await load(stack, meter, min(sizes.one("step"), backlog - waiting))
                size = stack.query("SELECT pg_database_size(current_database())")
                keep(Row("backlog: submits", {"waiting before": waiting, **values, "database, MiB": round(size / MIB)}))
            async with waiting_workers(stack, 2) as fleet:
                for _ in range(sizes.one("parts")):
                    if part := min(sizes.one("part"), backlog - fleet.completed):
                        waiting, settle_s = backlog - fleet.completed, sizes.one("settle")
                        values = await _drained(stack, meter, fleet, part, waiting=waiting, settle_s=settle_s)
                        rates[backlog].append(float(values["tasks/s"]))
                        keep(Row(_DRAINS, values))
                completed = fleet.completed
            await asyncio.to_thread(scenario.check, stack, backlog, completed)
    mean = {backlog: statistics.mean(values) for backlog, values in rates.items()}
    for backlog in (size for size in mean if size > _SHORT):  # the short ones are before and after it
        ratios = {f"times {short:,}": round(mean[backlog] / mean[short], 2) for short in mean if short <= _SHORT}
        keep(Row("backlog: long ones against short ones", {"backlog": backlog, **ratios}))


async def _drained(
    stack: Stack, meter: Meter, fleet: Fleet, part: int, *, waiting: int, settle_s: float
) -> dict[str, Value]:
    pages_before = stack.query(_PAGES_READ)
    values = await drain(stack, meter, fleet, part)
    await asyncio.sleep(settle_s)
    pages = round((stack.query(_PAGES_READ) - pages_before) / part, 2)
    return {"waiting": waiting, "drained": part, **values, "pages read a task": pages}


BACKLOG = Case(
    "backlog",
    "Drains of short and long backlogs in turn, and submits as the backlog grows.",
    "about half an hour, and 20 GB of disk",
    measure_backlog,
    {
        "sizes": Size(
            (20_000, 100_000, 1_000_000, 20_000, 100_000, 10_000_000, 100_000, 20_000), (1_200,), "backlogs, by comma"
        ),
        "step": Size((1_000_000,), (500,), "tasks of a row of submits"),
        "part": Size((600_000,), (300,), "tasks of a row of drains"),
        "settle": Size((11,), (1,), "seconds after a drain until PostgreSQL has counted the pages that it read"),
        "parts": Size((1,), (2,), "rows of drains: how many parts of a backlog are drained"),
    },
    plots={
        "scale-backlog.svg": Plot(
            _DRAINS,
            "waiting",
            (("tasks/s",), ("PostgreSQL, µs a task", "scheduler, µs a task")),
            "a drain as more waits behind it",
            log=True,
        )
    },
)


async def measure_workers(folder: Path, sizes: Sizes, keep: Keep) -> None:
    tasks = sizes.one("tasks")
    for count in sizes.all("counts"):
        async with warm(folder, sizes) as (stack, meter):
            await load(stack, meter, tasks)
            async with waiting_workers(stack, count) as fleet:
                values = await drain(stack, meter, fleet, tasks)
                keep(Row(_BY_WORKERS, {"workers": count, "drained": tasks, **values}))
            await asyncio.to_thread(scenario.check, stack, tasks)


WORKERS = Case(
    "workers",
    "The same backlog, drained by more and more connected workers, which hold 4,000 leases together.",
    "3 minutes",
    measure_workers,
    {
        "counts": Size((2, 100, 1_000, 100, 2), (6,), "connected workers, by comma; even numbers"),
        "tasks": Size((100_000,), (500,), "tasks that they drain"),
    },
    plots={
        "scale-workers.svg": Plot(
            _BY_WORKERS,
            "workers",
            (("tasks/s",), ("PostgreSQL, µs a task", "scheduler, µs a task"), ("ms a claim",)),
            "a drain by more workers",
            log=True,
        )
    },
)


async def measure_schedulers(folder: Path, sizes: Sizes, keep: Keep) -> None:
    tasks = sizes.one("tasks")
    for count in sizes.all("counts"):
        async with warm(folder, sizes) as (stack, meter):
            with _joined(stack, meter, count - 1) as targets:
                parameters = {"schedulers": count, "tasks": tasks}
                await load(stack, meter, tasks)
                spread = (targets * _SCHEDULERS_WORKERS)[:_SCHEDULERS_WORKERS]
                async with waiting_workers(stack, _SCHEDULERS_WORKERS, spread) as fleet:
                    drained = await drain(stack, meter, fleet, tasks)
                    keep(Row("schedulers: drains", {**parameters, **drained}))
                    values = await _end_to_end(stack, meter, fleet, tasks, targets)
                    keep(Row("schedulers: end to end, while batches come in", {**parameters, **values}))
                await asyncio.to_thread(scenario.check, stack, 2 * tasks)


@contextmanager
def _joined(stack: Stack, meter: Meter, count: int) -> Iterator[list[str]]:
    """Yields the targets of all once so many further schedulers are on its database."""
    targets = [stack.target]
    with ExitStack() as exits:
        for number in range(1, count + 1):
            name, port = f"scheduler-{number}", free_port()
            settings = {"assets": str(stack.folder / "data" / "assets"), "metrics_listen": f"127.0.0.1:{port}"}
            variables = {**environment(stack.folder / name, **settings), "DATABASE_URL": stack.url}
            service = exits.enter_context(scheduler(name, stack.folder, variables))
            exits.callback(service.stop, STOP_LIMIT)
            targets.append(service.wait_for("ready", within=START_LIMIT)["listen"])
            meter.ports.append(port)
        yield targets


async def _end_to_end(stack: Stack, meter: Meter, fleet: Fleet, tasks: int, targets: Sequence[str]) -> dict[str, Value]:
    """Returns a row; each scheduler takes its part of the batches."""
    share = {"batch": min(BATCH, tasks // len(targets)), "in_flight": max(1, IN_FLIGHT // len(targets))}
    async with AsyncExitStack() as exits:
        for target in targets:
            loader = scenario.loader(stack, tasks // len(targets), target=target, **share)
            (await exits.enter_async_context(loader)).go()
        return await drain(stack, meter, fleet, tasks)


SCHEDULERS = Case(
    "schedulers",
    "One, two and four schedulers on one PostgreSQL, with four workers in all.",
    "3 minutes",
    measure_schedulers,
    {
        "counts": Size((1, 2, 4, 2, 1), (2,), "schedulers, by comma"),
        "tasks": Size((80_000,), (400,), "tasks of a drain, and of a row end to end; the batches divide them"),
    },
)


# Ten thousand accounts of different weights, and one at its limit with a long backlog: how quick, and how fair?


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


@asynccontextmanager
async def watched(stack: Stack, account_id: int, limit: int) -> AsyncIterator[list[int]]:
    """Counts an account's leases all the time; yields the counts. Raises WrongCounts in the end if one was too high."""
    counts: list[int] = []
    statement = f"SELECT count(*) FROM leases WHERE account_id = {account_id}"

    async def look() -> None:
        while True:
            counts.append(await asyncio.to_thread(stack.query, statement))
            await asyncio.sleep(0.05)

    async with beside(look()):
        yield counts
    if (most := max(counts, default=0)) > limit:
        raise WrongCounts(f"an account with a limit of {limit} had {most} leases at once")


SHARES = "accounts: shares of the starts while every account has tasks that wait"
WEIGHTS = (1, 2, 5, 10)
_FEW = 4


async def measure_accounts(folder: Path, sizes: Sizes, keep: Keep) -> None:
    for accounts in sizes.all("counts"):
        for capped in (0, sizes.one("capped")) if accounts > _FEW else (0,):
            await _over(folder, sizes, accounts, capped, keep)


async def _over(folder: Path, sizes: Sizes, accounts: int, capped: int, keep: Keep) -> None:
    tasks, part, cap = sizes.one("tasks"), sizes.one("part"), sizes.one("cap")
    parameters = {"accounts": accounts, "waiting at a capped one": capped}
    async with warm(folder, sizes) as (stack, meter):
        capped_id = await _capped(stack, capped, cap)
        weights = await _make_accounts(stack, accounts)
        keep(Row("accounts: submits", {**parameters, **await load(stack, meter, tasks)}))
        async with waiting_workers(stack, 2) as fleet, watched(stack, capped_id, cap) as leases:
            keep(Row("accounts: drains", {**parameters, "drained": part, **await drain(stack, meter, fleet, part)}))
            completed = fleet.completed
        await asyncio.to_thread(scenario.check, stack, tasks + capped, completed)
        if accounts > _FEW:
            counts = dict(stack.rows(_STARTS.format(starts=part)))
            starts = {account_id: counts.get(account_id, 0) for account_id in weights}
            for weight, share in shares(starts, weights).items():
                keep(Row(SHARES, {**parameters, "weight": weight, **share}))
            values = fairness(starts, weights)
            if capped:
                done = f"SELECT count(*) FROM tasks WHERE account_id = {capped_id} AND status = 4"
                values |= {"limit of the capped one": cap, "most leases of it": max(leases), "looks": len(leases)}
                values["completed of it"] = stack.query(done)
            keep(Row("accounts: fairness", {**parameters, **values}))


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


ACCOUNTS = Case(
    "accounts",
    "Drains over few and many accounts of weights 1, 2, 5 and 10, and beside one at its limit.",
    "5 minutes",
    measure_accounts,
    {
        "counts": Size((_FEW, 10_000, _FEW), (8,), "accounts, by comma"),
        "tasks": Size((200_000,), (1_000,), "tasks that wait, of each account in turn"),
        "part": Size((80_000,), (200,), "tasks that are drained: less than half, so that all accounts have some left"),
        "cap": Size((20,), (5,), "tasks of the capped account that may run at once"),
        "capped": Size((100_000,), (100,), "tasks that wait at it"),
    },
)
