"""Figures of the whole database, for metrics: every replica reads them by a timer, and all read the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import QueueHead
from scheduler_svc.application.tasks.query import task_stats
from scheduler_svc.domain.access import ALL
from scheduler_svc.domain.task import TaskStats

HEAD_LIMIT = 1_000
"""Tasks of each priority that are counted."""


@dataclass(frozen=True, slots=True)
class Figures:
    """`leases`: how many there are, by stage (`queued`, `accepted`, `processing`, `revoked`)."""

    tasks: TaskStats
    heads: list[QueueHead]
    leases: Mapping[str, int]


def read_figures(tx: Tx) -> Figures:
    """Reads counts that every move keeps, the head of the queue, and the leases: no more, however many tasks wait."""
    return Figures(task_stats(tx, ALL), tx.waiting.heads(HEAD_LIMIT), tx.leases.stages())
