"""What `top` reads, and the rates between two readings. Layer: the bottom of top."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contentgen.cli.connection import Connection
from contentgen.cli.dispatching import pauses
from contentgen.cli.documents import Document, document
from contentgen.client.transport import run
from contentgen.client.worker_pool import whole_pool
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb

MAX_TASKS = 50
"""Of running tasks, and of recent failures."""

_RUNNING = (task_pb2.TASK_STATUS_PROCESSING, task_pb2.TASK_STATUS_SUBMITTED)
_FAILED = (task_pb2.TASK_STATUS_FAILED, task_pb2.TASK_STATUS_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Reading:
    """A deployment as of one moment, or nearly so: it is a few calls."""

    taken: float
    """By the monotonic clock, in seconds."""
    time: datetime
    stats: Document
    pool: Document
    dispatch: pool_pb.GetDispatchStatusResponse
    running: list[Document]
    failures: list[Document]
    """Tasks that failed or timed out for good, the last to end first, of the newest tasks."""

    def ended(self, *statuses: str) -> int:
        """How many tasks are in one of these states."""
        return sum(self.stats["counts"].get(status, 0) for status in statuses)


def read(connection: Connection, account: int) -> Reading:
    """Raises what a call raises."""
    call, tasks = connection.call, connection.stubs.tasks
    failures = _tasks(connection, account, _FAILED)
    return Reading(
        taken=time.monotonic(),
        time=datetime.now(UTC),
        stats=document(call(tasks.GetTaskStats, pb.GetTaskStatsRequest(account_id=account))),
        pool=_pool(connection),
        dispatch=pauses(connection),
        running=_tasks(connection, account, _RUNNING),
        failures=sorted(failures, key=lambda it: it["end_time"] or "", reverse=True),
    )


def _pool(connection: Connection) -> Document:
    """All pages as one, which leads to no other."""
    pool = document(run(whole_pool(connection.transport)))
    del pool["next_page_token"]
    return pool


def _tasks(connection: Connection, account: int, statuses: Sequence[task_pb2.TaskStatus.ValueType]) -> list[Document]:
    request = pb.ListTasksRequest(account_id=account, statuses=statuses, page_size=MAX_TASKS)
    return [document(task) for task in connection.call(connection.stubs.tasks.ListTasks, request).tasks]


@dataclass(frozen=True, slots=True)
class Rates:
    """Tasks a second between two readings."""

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
