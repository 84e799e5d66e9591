"""What is told while a campaign goes on: a line every few seconds. Beside `load` and `strikes`, below `campaign`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg2

from lab.callers import every
from lab.chaos.figures import KILLS
from lab.chaos.load import Load
from lab.chaos.strikes import Strikes
from lab.deployment.database import Database
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status

_SHORTEST, _LINES = 5.0, 120
"""Seconds between two lines, and lines of a long campaign, about."""
_COUNTS = f"""
    SELECT (SELECT count(*) FROM tasks WHERE status = {int(Status.PENDING)}), (SELECT count(*) FROM leases),
        (SELECT count(*) FROM contents)
"""
_TICKED = """
    SELECT extract(epoch FROM now())::float8 WHERE NOT EXISTS (SELECT FROM schedules WHERE due_time <= now())
"""


class Progress:
    """Looks at the database past all wires, whenever it can be reached."""

    def __init__(
        self, database: Database, strikes: Strikes, load: Load, say: Callable[[str], None], seconds: float
    ) -> None:
        """`seconds`: how long the campaign takes, about."""
        self.open_tasks = 0
        self._leases = 0
        self._completed = 0
        self._database = database
        self._strikes = strikes
        self._load = load
        self._say = say
        self._begin = self._next_line = time.monotonic()
        self._say_every = max(_SHORTEST, seconds / _LINES)

    def told(self) -> AbstractContextManager[None]:
        return every(1.0, self._tell, "progress")

    def all_ended(self) -> bool:
        """Returns whether no task is open and no lease is left; False while nobody knows."""
        return self.look() and not self.open_tasks and not self._leases

    def look(self) -> bool:
        rows = self._rows(_COUNTS)
        if rows:
            self.open_tasks, self._leases, self._completed = rows[0]
        return bool(rows)

    def ticked(self) -> float:
        """Returns the time, if no schedule's tick is due; 0 while one is, or nobody knows."""
        rows = self._rows(_TICKED)
        return rows[0][0] if rows else 0.0

    def all_delivered(self) -> bool:
        """Returns whether no event waits for its delivery; False while nobody knows."""
        return self._rows("SELECT count(*) FROM webhook_deliveries WHERE next_attempt_time IS NOT NULL") == [(0,)]

    def moves(self) -> int:
        """Returns how many there are in the histories of all tasks; 0 while nobody knows."""
        rows = self._rows("SELECT count(*) FROM task_events")
        return rows[0][0] if rows else 0

    def waiting(self) -> list[str]:
        """Returns the tasks that wait for a retry; none while nobody knows."""
        return [format_task_id(key) for (key,) in self._rows("SELECT task_key FROM delayed")]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Returns none while the database is away."""
        try:
            return self._database.rows(sql)
        except psycopg2.Error:
            return []

    def _tell(self) -> None:
        answers, now = self.look(), time.monotonic()
        if now < self._next_line:
            return
        self._next_line += self._say_every
        struck = self._strikes.struck
        kills = sum(count for kind, count in struck.items() if kind in KILLS)
        self._say(
            f"{now - self._begin:5.0f} s: {self._load.submitted} submitted, "
            f"{self._completed} completed, {self.open_tasks} open, {self._leases} leased; "
            f"{struck.total()} faults, {kills} of them kills{'' if answers else '; the database is away'}"
        )
