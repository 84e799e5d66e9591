"""Schedules, and the tasks that they submitted."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import Insert, UnnestedRows, array
from scheduler_svc.database.statements import EACH_ACCOUNT, Statements, accounts, task
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.domain.schedule import CatchUp, Due, Overlap, Schedule, ScheduleSettings
from scheduler_svc.schedules.work import FiredSchedule, ScheduleTask

_COLUMNS = """
    schedule_id, account_id, name, cron, time_zone, template, catch_up, overlap, jitter, paused, next_tick, due_time,
    create_time, last_run_time, last_task_key, last_error
"""

# Locked, so that the schedules of an account are counted and added by one transaction at a time.
_LOCK_ACCOUNT = sa.text("SELECT account_id FROM accounts WHERE account_id = :account_id FOR NO KEY UPDATE")
"""Locks an account to add a schedule."""
_COUNT_SCHEDULES = sa.text("""
    SELECT count(*) FROM (SELECT FROM schedules WHERE account_id = :account_id LIMIT :limit) AS s
""")
"""Counts the schedules of an account, up to a limit."""
_INSERT_SCHEDULE = sa.text(f"""
    INSERT INTO schedules (account_id, name, cron, time_zone, template, catch_up, overlap, jitter, paused)
    VALUES (:account_id, :name, :cron, :time_zone, :template, :catch_up, :overlap, :jitter, :paused)
    RETURNING {_COLUMNS}
""")
"""Creates a schedule, which is not due yet."""
_GET_SCHEDULE = sa.text(f"SELECT {_COLUMNS} FROM schedules WHERE schedule_id = :schedule_id")
"""Reads one schedule."""
_LOCK_SCHEDULE = sa.text(f"{_GET_SCHEDULE.text} FOR UPDATE")
"""Reads and locks one schedule."""
_LIST_SCHEDULES = sa.text(
    f"SELECT {_COLUMNS} FROM schedules WHERE schedule_id > :after ORDER BY schedule_id LIMIT :limit"
)
"""Reads a page of all schedules, by id."""
_LIST_OF_ACCOUNTS = sa.text(f"""
    SELECT s.* FROM {EACH_ACCOUNT}, LATERAL (
        SELECT {_COLUMNS} FROM schedules AS x
        WHERE (x.account_id, x.schedule_id) > (a.own, :after) AND (x.account_id, x.schedule_id) <= (a.own, {KEY_MAX})
        ORDER BY x.account_id, x.schedule_id LIMIT :limit) AS s
    ORDER BY s.schedule_id LIMIT :limit
""")
"""Reads a page of the schedules of some accounts, by id."""
_UPDATE_SCHEDULE = sa.text("""
    UPDATE schedules SET name = :name, cron = :cron, time_zone = :time_zone, template = :template,
        catch_up = :catch_up, overlap = :overlap, jitter = :jitter, paused = :paused,
        next_tick = :next_tick, due_time = :due_time
    WHERE schedule_id = :schedule_id
""")
"""Changes a locked schedule."""
_DELETE_SCHEDULE = sa.text("DELETE FROM schedules WHERE schedule_id = :schedule_id")
"""Deletes a locked schedule."""

# A range of the index of what is due, so that schedules that wait cost nothing.
_DUE = "due_time <= :now AND account_id <> ALL(CAST(:but AS bigint[])) ORDER BY due_time, schedule_id LIMIT :limit"
_LOCK_DUE = sa.text(f"SELECT {_COLUMNS} FROM schedules WHERE {_DUE} FOR UPDATE SKIP LOCKED")
"""Locks schedules that are due, without those that another replica runs now."""
_DUE_ACCOUNTS = sa.text(f"SELECT DISTINCT account_id FROM (SELECT account_id FROM schedules WHERE {_DUE}) AS s")
"""Reads the accounts of the schedules that are due."""
_NEXT_DUE_TIME = sa.text(
    "SELECT due_time FROM schedules WHERE due_time IS NOT NULL ORDER BY due_time, schedule_id LIMIT 1"
)
"""Reads when the next schedule is due."""

_TICK = UnnestedRows(schedule_id="bigint", tick="timestamptz")
# An order that one index alone has.
_TICKS_WITH_TASK = sa.text(f"""
    SELECT own.schedule_id, own.tick FROM {_TICK.source}, LATERAL (
        SELECT x.schedule_id, x.tick FROM schedule_tasks AS x
        WHERE (x.schedule_id, x.tick) >= (r.schedule_id, r.tick) AND (x.schedule_id, x.tick) <= (r.schedule_id, r.tick)
        ORDER BY x.schedule_id, x.tick LIMIT 1) AS own
""")
"""Reads which ticks have a task."""
_INSERT_SCHEDULE_TASKS = Insert("schedule_tasks", task_key="bigint", schedule_id="bigint", tick="timestamptz")
"""Inserts which schedules submitted tasks."""
_TASK = UnnestedRows(task_key="bigint", schedule_id="bigint", tick="timestamptz")
_MARK_TASKS = sa.text(f"""
    UPDATE tasks AS t SET schedule_id = r.schedule_id FROM {_TASK.source}, {task("r", "own")} WHERE t.ctid = own.ctid
""")
"""Sets which schedule submitted tasks that this transaction inserted."""
_FIRED = UnnestedRows(
    schedule_id="bigint",
    next_tick="timestamptz",
    due_time="timestamptz",
    last_run_time="timestamptz",
    last_task_key="bigint",
    last_error="text",
)
_RECORD_TICKS = sa.text(f"""
    UPDATE schedules AS s SET next_tick = r.next_tick, due_time = r.due_time, last_error = r.last_error,
        last_run_time = coalesce(r.last_run_time, s.last_run_time),
        last_task_key = coalesce(r.last_task_key, s.last_task_key)
    FROM {_FIRED.source} WHERE s.schedule_id = r.schedule_id
""")
"""Records what locked schedules did, and when they are due next."""
_RECORD_RUN = sa.text("""
    UPDATE schedules SET last_run_time = :time, last_task_key = :task_key WHERE schedule_id = :schedule_id
""")
"""Records a run of a locked schedule beside its ticks."""


class Schedules(Statements):
    def lock_account(self, account_id: int) -> bool:
        """Returns whether the account exists; then nobody else adds a schedule to it before this transaction ends."""
        return self._row(_LOCK_ACCOUNT, account_id=account_id) is not None

    def count(self, account_id: int, limit: int) -> int:
        return int(self._row(_COUNT_SCHEDULES, account_id=account_id, limit=limit)[0])

    def insert(self, account_id: int, settings: ScheduleSettings) -> Schedule:
        """Creates a schedule; the database draws its id. It is not due before `update`."""
        return _schedule(*self._row(_INSERT_SCHEDULE, account_id=account_id, **_values(settings)))

    def get(self, schedule_id: int) -> Schedule | None:
        return self._one(_schedule, _GET_SCHEDULE, schedule_id=schedule_id)

    def lock(self, schedule_id: int) -> Schedule | None:
        return self._one(_schedule, _LOCK_SCHEDULE, schedule_id=schedule_id)

    def list(self, scope: Scope, after: int, limit: int) -> list[Schedule]:
        parameters = accounts(scope)
        statement = _LIST_OF_ACCOUNTS if parameters else _LIST_SCHEDULES
        return self._all(_schedule, statement, **parameters, after=after, limit=limit)

    def update(self, schedule_id: int, settings: ScheduleSettings, due: Due | None) -> None:
        """Gives a locked schedule these settings, and its next tick."""
        tick, time = due or (None, None)
        self._run(_UPDATE_SCHEDULE, schedule_id=schedule_id, next_tick=tick, due_time=time, **_values(settings))

    def delete(self, schedule_id: int) -> None:
        """Deletes a locked schedule; its tasks stay."""
        self._run(_DELETE_SCHEDULE, schedule_id=schedule_id)

    def lock_due(self, now: datetime, limit: int, but: Collection[int]) -> builtins.list[Schedule]:
        """Returns schedules that are due, longest first, locked; without those of accounts in `but` and locked ones."""
        return self._all(_schedule, _LOCK_DUE, now=now, limit=limit, but=array("bigint", but))

    def due_accounts(self, now: datetime, limit: int, but: Collection[int]) -> set[int]:
        return set(self._all(int, _DUE_ACCOUNTS, now=now, limit=limit, but=array("bigint", but)))

    def next_due(self) -> datetime | None:
        """Returns when the next schedule is due, or None if none is."""
        row = self._row(_NEXT_DUE_TIME)
        return None if row is None else row[0]

    def ran(self, ticks: Sequence[tuple[int, datetime]]) -> set[tuple[int, datetime]]:
        """Returns those of these ticks, each with its schedule, that have a task."""
        return {(schedule_id, tick) for schedule_id, tick in self._rows(_TICKS_WITH_TASK, **_TICK.bind(ticks))}

    def add_tasks(self, tasks: Sequence[ScheduleTask]) -> None:
        """Says of tasks that this transaction inserted which schedule submitted them."""
        self._session.insert(_INSERT_SCHEDULE_TASKS, tasks)
        self._run(_MARK_TASKS, **_TASK.bind(tasks))

    def record(self, rows: Sequence[FiredSchedule]) -> None:
        self._run(_RECORD_TICKS, **_FIRED.bind(rows))

    def record_run(self, schedule_id: int, time: datetime, task_key: int) -> None:
        self._run(_RECORD_RUN, schedule_id=schedule_id, time=time, task_key=task_key)


def _values(settings: ScheduleSettings) -> dict[str, Any]:
    return asdict(settings) | {"catch_up": int(settings.catch_up), "overlap": int(settings.overlap)}


def _schedule(*row: Any) -> Schedule:
    schedule_id, account_id, name, cron, zone, template, catch_up, overlap, jitter, paused, tick, due_time, *rest = row
    settings = ScheduleSettings(name, cron, zone, bytes(template), CatchUp(catch_up), Overlap(overlap), jitter, paused)
    following = None if tick is None else Due(tick, due_time)
    return Schedule(schedule_id, account_id, settings, following, *rest)
