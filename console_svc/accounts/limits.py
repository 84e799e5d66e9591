"""Limits of accounts that hold their tasks back, which somebody may have forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from console_svc.web.language import plural
from console_svc.web.sessions import Session
from contentgen import Account, TaskStats

LIMIT = 50
"""Accounts that have a limit and are looked at."""


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
    """Of the first `LIMIT` accounts that have such a limit."""
    if not (session.may("AccountService/ListAccounts") and session.may("TaskService/GetTaskStats")):
        return ()
    limited: list[Account] = []
    async for account in session.client.iter_accounts():
        if account["max_concurrent_tasks"] or account["max_pending_tasks"] or not account["active"]:
            limited.append(account)
            if len(limited) == LIMIT:
                break
    stats = await asyncio.gather(*(session.client.get_task_stats(account["account_id"]) for account in limited))
    pairs = zip(limited, stats, strict=True)
    return [(account, hold) for account, its_stats in pairs for hold in holds(account, its_stats)]
