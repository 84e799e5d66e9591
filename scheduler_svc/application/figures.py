"""Figures of the whole database, for metrics: every replica reads them by a timer, and all read the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler_svc.application.records import Backlogs, QueueHead
from scheduler_svc.application.tasks.query import task_stats
from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.task import TaskStats

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

HEAD_LIMIT = 1_000
"""Tasks of each priority that are counted."""
BACKLOG_LIMIT = 10_000
"""Deliveries, entries of the publish pool in one state, and schedules that are counted."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`leases`: how many there are, by stage (`queued`, `accepted`, `processing`, `revoked`)."""

    tasks: TaskStats
    heads: list[QueueHead]
    leases: Mapping[str, int]
    backlogs: Backlogs
    accounts: Mapping[int, TaskStats]


def read_figures(tx: Tx, account_ids: Sequence[int]) -> Figures:
    """Reads counts that every move keeps, the head of the queue, the leases, and other backlogs up to a limit: no more,
    however much waits. Of `account_ids`, those that exist are told of by themselves.
    """
    return Figures(
        task_stats(tx, ALL),
        tx.waiting.heads(HEAD_LIMIT),
        tx.leases.stages(),
        tx.backlogs.read(BACKLOG_LIMIT),
        {account_id: stats for account_id in account_ids if (stats := _of_account(tx, account_id))},
    )


def _of_account(tx: Tx, account_id: int) -> TaskStats | None:
    try:
        return task_stats(tx, Scope((account_id,)))
    except NotFound:
        return None
