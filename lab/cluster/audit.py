"""Whether what was acknowledged is there, once: by the database, read past all of the product's code."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import psycopg2

from lab.chaos.database import Database
from lab.chaos.evidence import Stored
from scheduler_svc.domain.lifecycle import OPEN, Status

_PAUSE = 2.0
_JOIN_LIMIT = 5.0
_COUNTS = """
    SELECT (SELECT count(*) FROM tasks),
        (SELECT count(*) FROM (SELECT FROM contents GROUP BY task_key HAVING count(*) > 1) AS twice)
"""


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts of tasks, but for `wrong`."""

    acknowledged: int
    completed: int
    open: int
    """They wait or run still."""
    again: int
    """They had more than one attempt: a worker was lost, or let go of them."""
    lost: int
    twice: int
    wrong: tuple[str, ...]
    """A line for each that is lost, or was done twice, or ended otherwise."""


def audit(acknowledged: Mapping[str, str], told: Mapping[str, int], stored: Stored) -> Audit:
    """Compares what was acknowledged with what the database holds.

    Args:
        acknowledged: task ids by request id.
        told: how often a watcher was told of a task's completion.
        stored: what the database holds.
    """
    contents = Counter(content.task_id for content in stored.contents)
    requests = Counter(task.request_id for task in stored.tasks.values())
    lost, doubled, unexpected = [], [], []
    completed = still_open = repeated = 0
    for request_id, task_id in acknowledged.items():
        task = stored.tasks.get(task_id)
        if task is None:
            lost.append(f"{task_id} was acknowledged, and is not there")
            continue
        events = stored.events.get(task_id, ())
        ends = sum(event.status is Status.COMPLETED for event in events)
        repeated += any(event.attempt > 1 for event in events)
        if ends > 1 or contents[task_id] > 1 or told.get(task_id, 0) > 1 or requests[request_id] > 1:
            doubled.append(f"{task_id} completed {ends} times, has {contents[task_id]} contents")
        if task.status is Status.COMPLETED:
            completed += 1
            if not contents[task_id]:
                lost.append(f"{task_id} is completed, and has no content")
        elif task.status in OPEN:
            still_open += 1
        else:
            unexpected.append(f"{task_id} is {task.status.label}")
    return Audit(
        len(acknowledged), completed, still_open, repeated, len(lost), len(doubled), (*lost, *doubled, *unexpected)
    )


class LiveAudit:
    """A context manager: meanwhile it counts every few seconds, as far as the database lets it."""

    def __init__(self, database: Database, acknowledged: Callable[[], int]) -> None:
        self.lost = 0
        self.twice = 0
        self._database = database
        self._acknowledged = acknowledged
        self._over = threading.Event()
        # A frozen database holds it up: nobody waits for that.
        self._thread = threading.Thread(target=self._count_on, name="live-audit", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_JOIN_LIMIT)

    def _count_on(self) -> None:
        while not self._over.wait(_PAUSE):
            with contextlib.suppress(psycopg2.Error):
                self._count()

    def _count(self) -> None:
        acknowledged = self._acknowledged()
        with contextlib.closing(self._database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(_COUNTS)
            ((tasks, self.twice),) = cursor.fetchall()
        self.lost = max(acknowledged - tasks, 0)
