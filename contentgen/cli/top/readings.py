"""What `top` reads, and the rates between two readings. Layer: the bottom of top."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contentgen.cli.connection import Connection
from contentgen.cli.dispatching import pauses
from contentgen.cli.documents import Document, document
from contentgen.client.results import TaskStatus
from contentgen.client.transport import run

MAX_TASKS = 50
"""Of running tasks, and of recent failures."""

_RUNNING: Sequence[TaskStatus] = ("processing", "submitted")
_FAILED: Sequence[TaskStatus] = ("failed", "timeout")


@dataclass(frozen=True, slots=True)
class Reading:
    """A deployment as of one moment, or nearly so: it is a few calls."""

    taken: float
    """By the monotonic clock, in seconds."""
    time: datetime
    stats: Document
    pool: Document
    dispatch: Document
    running: list[Document]
    failures: list[Document]
    """Tasks that failed or timed out for good, the last to end first, of the newest tasks."""

    def ended(self, *statuses: str) -> int:
        """Counts the tasks in one of these states."""
        return sum(self.stats["counts"].get(status, 0) for status in statuses)


def read(connection: Connection, account: int) -> Reading:
    """Reads all that a frame shows. Raises RequestError if a call fails."""
    failures = _tasks(connection, account, _FAILED)
    return Reading(
        taken=time.monotonic(),
        time=datetime.now(UTC),
        stats=document(connection.client.get_task_stats(account)),
        pool=_pool(connection),
        dispatch=pauses(connection),
        running=_tasks(connection, account, _RUNNING),
        failures=sorted(failures, key=lambda task: task["end_time"] or "", reverse=True),
    )


def _pool(connection: Connection) -> Document:
    """Returns the workers of all pages as one page, which leads to no other."""
    pool = document(connection.client.get_worker_pool_status())
    del pool["next_page_token"]
    return pool


def _tasks(connection: Connection, account: int, statuses: Sequence[TaskStatus]) -> list[Document]:
    pages = connection.client.iter_tasks(account, statuses)
    return [document(task) for task in run(pages.next(MAX_TASKS)) or ()]


@dataclass(frozen=True, slots=True)
class Rates:
    """How many tasks moved in each second between two readings."""

    over: float
    """Seconds."""
    submitted: float
    completed: float
    failed: float
    """Failed or timed out for good."""


def rates(before: Reading, after: Reading) -> Rates:
    """From the counts: a cleanup in between makes them too small, never negative."""
    over = max(after.taken - before.taken, 1e-9)

    def rate(*statuses: str) -> float:
        return max(after.ended(*statuses) - before.ended(*statuses), 0) / over

    return Rates(over, rate(*after.stats["counts"]), rate("completed"), rate("failed", "timeout"))
