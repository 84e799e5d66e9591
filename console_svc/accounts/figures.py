"""How an account does: its limits that hold tasks back, and how good its contents were."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from console_svc.web.language import plural
from console_svc.web.paging import first_of
from console_svc.web.sessions import Session
from contentgen import Account, AsyncContentGenerationClient, TaskHistoryPoint, TaskStats

MAX_LIMITED = 50
"""Accounts that have a limit and are looked at."""
MAX_SCORED = 100
"""Contents that are looked at: the newest."""


@dataclass(frozen=True, slots=True)
class Hold:
    """`text` is a text of the page, in which `values` are filled in."""

    text: str
    values: Mapping[str, object]


def holds(account: Account, stats: TaskStats) -> Iterator[Hold]:
    """What the account's own settings do to its tasks now."""
    pending, running = stats["counts"]["pending"], with_workers(stats)
    limit, max_pending = account["max_concurrent_tasks"], account["max_pending_tasks"]
    if limit and running >= limit and stats["queue_depth"]:
        values = {"n": stats["queue_depth"], "running": running, "limit": limit}
        yield Hold(
            plural(
                "{n} due task waits: {running} running, {limit} allowed at once.",
                "{n} due tasks wait: {running} running, {limit} allowed at once.",
            ),
            values,
        )
    if max_pending and pending >= max_pending:
        yield Hold("Submits are refused: {n} of {limit} that may be pending are.", {"n": pending, "limit": max_pending})
    if not account["active"] and pending:
        yield Hold(
            plural("It is inactive, and {n} task still waits.", "It is inactive, and {n} tasks still wait."),
            {"n": pending},
        )


def with_workers(stats: TaskStats) -> int:
    return stats["counts"]["submitted"] + stats["counts"]["processing"]


async def held_back(session: Session) -> Sequence[tuple[Account, Hold]]:
    """Returns what holds tasks back, for the first `MAX_LIMITED` accounts that have such a limit."""
    if not (session.may("AccountService/ListAccounts") and session.may("TaskService/GetTaskStats")):
        return ()
    limited_accounts: list[Account] = []
    async for account in session.client.iter_accounts():
        if account["max_concurrent_tasks"] or account["max_pending_tasks"] or not account["active"]:
            limited_accounts.append(account)
            if len(limited_accounts) == MAX_LIMITED:
                break
    stats = await asyncio.gather(
        *(session.client.get_task_stats(account["account_id"]) for account in limited_accounts)
    )
    pairs = zip(limited_accounts, stats, strict=True)
    return [(account, hold) for account, account_stats in pairs for hold in holds(account, account_stats)]


@dataclass(frozen=True, slots=True)
class Scores:
    """`means` has the mean of each hour or day of a plot, by its time. `cut`: older contents were not looked at."""

    means: Mapping[str, float]
    cut: bool


async def scores(client: AsyncContentGenerationClient, account_id: int, points: Sequence[TaskHistoryPoint]) -> Scores:
    """Returns the mean scores of contents; contents without a score do not count."""
    scores_by_time: dict[str, list[float]] = defaultdict(list)
    starts = [datetime.fromisoformat(point["time"]) for point in points]
    newest = client.iter_contents(account_id, created_after=starts[0], page_size=MAX_SCORED + 1)
    contents, cut = await first_of(newest, MAX_SCORED)
    for content in contents:
        if content["quality_score"] is not None:
            creation_time = datetime.fromisoformat(content["created_at"]).astimezone(UTC)
            time = points[max(sum(start <= creation_time for start in starts) - 1, 0)]["time"]
            scores_by_time[time].append(content["quality_score"])
    return Scores({time: sum(values) / len(values) for time, values in scores_by_time.items()}, cut=cut)
