"""ListTasks in SQL: which ranges of indexes hold a page's tasks, and how far down a page reads. Part of `store`.

Each account and state of the filter is a range of one index, and these are merged; so is a single label or schedule.
Every row that is read belongs on the page, and a late page costs as much as the first one. A filter of labels and other
conditions differs: 200,000 tasks may have the label, and none of them the state. Then a page walks by one of the
conditions and examines at most `MAX_EXAMINED` tasks. It chooses the condition that brings it furthest down: one that
few tasks meet, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa

from scheduler_svc.domain.lifecycle import RUNNING, Status
from scheduler_svc.store.engine.access_paths import EACH_ACCOUNT

MAX_EXAMINED = 5_000
"""Tasks that a page examines for a match: some 20 ms."""

_OWN_STATUSES = tuple(sorted(frozenset(Status) - RUNNING - {Status.NONE}))
_NOT_LEASED = "NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = t.task_key AND NOT l.revoked OFFSET 0)"
_ALL = (
    "SELECT t.task_key FROM tasks AS t WHERE t.task_key >= :floor AND t.task_key < :before"
    " ORDER BY t.task_key DESC LIMIT :limit"
)


class Mark(NamedTuple):
    """Tasks with the same values in the first columns of a table that is ordered by them and by `task_key`."""

    source: str
    """`FROM` and that table."""
    columns: tuple[str, ...]
    values: tuple[str, ...]

    def newest(self, conditions: str, part: str) -> str:
        """Those tasks, newest first."""
        columns = ", ".join(f"x.{column}" for column in (*self.columns, "task_key"))
        values = ", ".join(self.values)
        return (
            f"SELECT x.task_key {self.source} AS x WHERE {conditions}"
            f"({columns}) >= ({values}, :floor) AND ({columns}) < ({values}, :before)"
            f" ORDER BY {columns.replace(',', ' DESC,')} DESC {part}"
        )

    def has(self, of: str) -> str:
        """Whether a task is one of them."""
        columns = ", ".join(f"y.{column}" for column in (*self.columns, "task_key"))
        same = f"({columns}) = ({', '.join(self.values)}, {of}.task_key)"
        return f"EXISTS (SELECT {self.source} AS y WHERE {same} OFFSET 0)"


class ListQuery(NamedTuple):
    """The filters of a list.

    Their values are parameters: `accounts`, `schedule_id`, and `name0`, `value0` … for the labels.
    """

    of_accounts: bool
    statuses: tuple[Status, ...]
    labels: int
    of_schedule: bool = False

    @property
    def ranges(self) -> int:
        """How many ranges hold the tasks in these states, of one account or of all; 0: no such filter."""
        return len(self.statuses or _OWN_STATUSES) if self.of_accounts or self.statuses else 0

    @property
    def walks(self) -> int:
        """The number of conditions by which a page can walk: labels, schedule, then accounts and states together."""
        return self.labels + self.of_schedule + (self.ranges > 0)


def _label(i: int) -> Mark:
    return Mark("FROM task_labels", ("name", "value"), (f":name{i}", f":value{i}"))


_SCHEDULE = Mark("FROM schedule_tasks", ("schedule_id",), (":schedule_id",))


def _marks(query: ListQuery) -> tuple[Mark, ...]:
    """The conditions that have an index of their own: each label, then the schedule."""
    labels = tuple(_label(i) for i in range(query.labels))
    return (*labels, _SCHEDULE) if query.of_schedule else labels


@lru_cache(maxsize=200)
def floors(query: ListQuery) -> sa.TextClause:
    """Finds, for each condition, the key down to which a page reads if it walks by that condition.

    `skipped` is one less than the number of a mark's tasks that a page examines; `skipped_each` is the same of each
    range.
    """
    ends = [mark.newest("", "OFFSET :skipped LIMIT 1") for mark in _marks(query)]
    if query.ranges:
        each = _ranges(query, [], "OFFSET :skipped_each LIMIT 1", leased=True)
        ends.append(f"SELECT max(task_key) FROM ({each}) AS k")
    return sa.text("SELECT " + ", ".join(f"coalesce(({end}), :floor)" for end in ends))


def keys(query: ListQuery, walk: int) -> str:
    """A query of the newest `limit` matching keys, from `floor` up to below `before`, found by this walk."""
    marks = _marks(query)
    others = [mark for i, mark in enumerate(marks) if i != walk]
    if walk < len(marks):
        conditions = [*_row_conditions("x", query), *(mark.has("x") for mark in others)]
        found = marks[walk].newest(_and(conditions), "LIMIT :limit")
    elif query.ranges:
        found = _ranges(query, [mark.has("t") for mark in others], "LIMIT :limit")
    else:
        found = _ALL
    return f"SELECT task_key FROM ({found}) AS k ORDER BY task_key DESC LIMIT :limit"


def _and(conditions: Iterable[str]) -> str:
    """These conditions with an AND after each, to be put before another one."""
    return "".join(f"{condition} AND " for condition in conditions)


def _row_conditions(of: str, query: ListQuery) -> list[str]:
    """The filter of a task's own row and lease, as a condition on its key."""
    if not query.ranges:
        return []
    conditions = ["t.account_id = ANY(CAST(:accounts AS bigint[]))"] if query.of_accounts else []
    if query.statuses:
        conditions.append("(" + " OR ".join(_has_status(status) for status in query.statuses) + ")")
    same = f"t.task_key = {of}.task_key"
    return [f"EXISTS (SELECT FROM tasks AS t WHERE {same} AND {' AND '.join(conditions)} OFFSET 0)"]


def _has_status(status: Status) -> str:
    if status in RUNNING:
        lease = f"l.task_key = t.task_key AND NOT l.revoked AND l.status = {status}"
        return f"EXISTS (SELECT FROM leases AS l WHERE {lease} OFFSET 0)"
    own = f"t.status = {status}"
    return f"({own} AND {_NOT_LEASED})" if status is Status.PENDING else own


def _ranges(query: ListQuery, conditions: list[str], part: str, *, leased: bool = False) -> str:
    """A part of each range, one for each state and account. `leased`: tasks with a lease count as pending.

    The own row of each open task says `pending`; whether it runs is known from its lease, of which there are few.
    """
    found = []
    for status in query.statuses or _OWN_STATUSES:
        waits = status is Status.PENDING and query.statuses and not leased
        own = _and([*conditions, *([_NOT_LEASED] if waits else [])])
        shape = _running if status in RUNNING else _range
        found.append(f"({shape(status, query.of_accounts, own)} {part})")
    union = " UNION ALL ".join(found)
    return f"SELECT s.task_key FROM {EACH_ACCOUNT}, LATERAL ({union}) AS s" if query.of_accounts else union


def _running(status: Status, of_accounts: bool, conditions: str) -> str:
    own = "t.account_id = a.own AND " if of_accounts else ""
    return (
        f"SELECT t.task_key FROM leases AS t WHERE {conditions}{own}NOT t.revoked AND t.status = {status}"
        " AND t.task_key >= :floor AND t.task_key < :before ORDER BY t.task_key DESC"
    )


def _range(status: Status, of_accounts: bool, conditions: str) -> str:
    """Tasks whose own row has this status, as a range of an index whose first columns are equal in all of them.

    With `status = …` the planner would know that ordering by key alone gives the same order, and might walk past all
    newer tasks of other states or accounts.
    """
    columns, values = ("t.account_id, ", "a.own, ") if of_accounts else ("", "")
    columns, values = f"({columns}t.status, t.task_key)", f"({values}{status}, {{}})"
    return (
        f"SELECT t.task_key FROM tasks AS t WHERE {conditions}{columns} >= {values.format(':floor')}"
        f" AND {columns} < {values.format(':before')} ORDER BY {columns.strip('()').replace(',', ' DESC,')} DESC"
    )
