"""Finds tasks by a filter: which ranges of indexes hold a page's tasks, and how far a page reads.

Each account and state of the filter is a range of one index, and these are merged; so is a single label or schedule.
Every row that is read belongs on the page, and a late page costs as much as the first one. A filter of several of
these, or with a condition that no index serves, differs: 200,000 tasks may have the label, and none of them the state.
Then a page walks by one of the conditions and examines at most `MAX_EXAMINED` tasks. It chooses the condition that
brings it furthest: one that few tasks meet, if there is one.

A page is from `low` to below `high`. Newest first it is read from its upper end, oldest first from the lower.

In the order of ends, all tasks that meet the rarest condition are sorted if a page may examine so many. Otherwise a
page walks along the index of ends, and examines as many of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from scheduler_svc.database.batch import array
from scheduler_svc.database.statements import EACH_ACCOUNT, accounts, leased
from scheduler_svc.domain.ids import KEY_MAX, SEQUENCE_BITS, make_key
from scheduler_svc.domain.lifecycle import RUNNING, Status
from scheduler_svc.domain.task import EndPlace, TaskFilter

MAX_EXAMINED = 5_000
"""Tasks that a page examines for a match: some 20 ms, with a topic some 50."""
CLOCK_MARGIN = timedelta(hours=1)
"""By which the time in a task's key, of a replica's clock, may differ from its `create_time`, of the database's. All
tasks beyond it are in the index `tasks_misdated`."""
MAX_MISDATED = 1_000
"""Misdated tasks that widen a span. If a filter's times hold more, its span is not narrowed."""

MISDATED = f"""
    (create_time - to_timestamp((task_key >> {SEQUENCE_BITS})::double precision / 1000))
        NOT BETWEEN interval '-1 hour' AND interval '1 hour'
"""
"""The condition of that index, and spelt like it."""

_OWN_STATUSES = tuple(sorted(frozenset(Status) - RUNNING - {Status.NONE}))
_NOT_LEASED = "NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = t.task_key AND NOT l.revoked OFFSET 0)"
_HELD = (
    "EXISTS (SELECT FROM leases AS l WHERE l.task_key = t.task_key AND NOT l.revoked AND l.worker_id = :worker_id"
    " OFFSET 0)"
)
_EXAMINED = {
    "error_reasons": "t.error ->> 'reason' = ANY(CAST(:error_reasons AS text[]))",
    "created_after": "t.create_time >= :created_after",
    "created_before": "t.create_time < :created_before",
    "worker_id": f"({_HELD} OR (t.worker_id = :worker_id AND {_NOT_LEASED}))",
    "has_retries_left": "t.retry_count < t.max_retries",
    "deletable_since": f"t.end_time <= :deletable_since AND NOT {leased('t')}",
}
"""Conditions that no index serves, on a row `t` of `tasks`, by the field of the filter; that names their parameter."""
_TOPIC = (
    "EXISTS (SELECT FROM task_payloads AS p WHERE p.task_key = {of}.task_key"
    " AND strpos(lower(p.topic), lower(CAST(:topic AS text))) > 0 OFFSET 0)"
)


class Span(NamedTuple):
    """Keys from `low` to below `high`."""

    low: int = 0
    high: int = KEY_MAX

    @classmethod
    def of(cls, wanted: TaskFilter) -> Span:
        """Returns the keys of tasks that were created at these times and are not misdated."""
        after, before = wanted.created_after, wanted.created_before
        low = 0 if after is None else _key_at(after.timestamp() - _MARGIN_S)
        return cls(low, KEY_MAX if before is None else _key_at(before.timestamp() + _MARGIN_S))

    def widened(self, misdated: int, lowest: int | None, highest: int | None) -> Span:
        """Returns the span that also has the misdated tasks of the same times.

        `misdated` is their number, counted up to a few; `lowest` and `highest` are their outermost keys.
        """
        if misdated > MAX_MISDATED:
            return Span()
        return Span(min(self.low, lowest), max(self.high, highest + 1)) if lowest and highest else self

    def behind(self, key: int | None, *, oldest_first: bool) -> Span:
        """Returns what is left behind a task; None: all."""
        if key is None:
            return self
        return self._replace(low=max(self.low, key + 1)) if oldest_first else self._replace(high=min(self.high, key))

    def unread(self, read: Span) -> int | None:
        """Returns the key behind which a page goes on that has read that part; None: it has read all."""
        if read.high < self.high:
            return read.high - 1
        return read.low if read.low > self.low else None


_MARGIN_S = CLOCK_MARGIN.total_seconds() + 0.001
"""Keys have milliseconds, and PostgreSQL computes their time with doubles."""


def _key_at(seconds: float) -> int:
    """Returns the first key of a time, given in seconds since 1970."""
    return min(make_key(max(0, int(seconds * 1_000)), 0), KEY_MAX)


MISDATED_KEYS = sa.text(f"""
    SELECT count(*), min(task_key), max(task_key) FROM (
        SELECT task_key FROM tasks
        WHERE {MISDATED} AND create_time >= coalesce(CAST(:created_after AS timestamptz), '-infinity')
            AND create_time < coalesce(CAST(:created_before AS timestamptz), 'infinity')
        ORDER BY create_time LIMIT :limit) AS m
""")
"""Finds the keys of tasks of these times that their keys do not tell."""


class Mark(NamedTuple):
    """Tasks with the same values in the first columns of a table that is ordered by them and by `task_key`."""

    source: str
    """`FROM` and that table."""
    columns: tuple[str, ...]
    values: tuple[str, ...]

    def has(self, of: str) -> str:
        """Returns the condition that a task is one of these tasks."""
        columns = ", ".join(f"y.{column}" for column in (*self.columns, "task_key"))
        same = f"({columns}) = ({', '.join(self.values)}, {of}.task_key)"
        return f"EXISTS (SELECT {self.source} AS y WHERE {same} OFFSET 0)"


class ListQuery(NamedTuple):
    """The conditions of a search, without their values."""

    of_accounts: bool = False
    statuses: tuple[Status, ...] = ()
    labels: int = 0
    of_schedule: bool = False
    examined: tuple[str, ...] = ()
    """Fields of the filter that no index serves, but for the topic."""
    of_topic: bool = False
    oldest_first: bool = False

    @classmethod
    def of(cls, wanted: TaskFilter, *, oldest_first: bool = False) -> ListQuery:
        return cls(
            of_accounts=wanted.scope.accounts is not None,
            statuses=tuple(sorted(wanted.statuses)),
            labels=len(wanted.labels),
            of_schedule=wanted.schedule_id is not None,
            examined=tuple(name for name in _EXAMINED if getattr(wanted, name)),
            of_topic=bool(wanted.topic),
            oldest_first=oldest_first,
        )

    @property
    def ranges(self) -> int:
        """How many ranges hold the tasks in these states, of one account or of all; 0: no such filter."""
        return len(self.statuses or _OWN_STATUSES) if self.of_accounts or self.statuses else 0

    @property
    def examines(self) -> bool:
        """Whether tasks that are read may not belong on the page."""
        return bool(self.examined) or self.of_topic or self.labels + self.of_schedule + (self.ranges > 0) > 1

    @property
    def order(self) -> str:
        return "" if self.oldest_first else " DESC"


def values(wanted: TaskFilter) -> dict[str, Any]:
    parameters: dict[str, Any] = {name: getattr(wanted, name) for name in _EXAMINED}
    parameters |= accounts(wanted.scope)
    parameters |= {
        "error_reasons": array("text", wanted.error_reasons),
        "schedule_id": wanted.schedule_id,
        "topic": wanted.topic,
    }
    for i, (name, value) in enumerate(sorted(wanted.labels.items())):
        parameters |= {f"name{i}": name, f"value{i}": value}
    return parameters


_SCHEDULE = Mark("FROM schedule_tasks", ("schedule_id",), (":schedule_id",))


def _marks(query: ListQuery) -> tuple[Mark, ...]:
    """Returns the conditions that have an index of their own: each label, then the schedule."""
    labels = tuple(
        Mark("FROM task_labels", ("name", "value"), (f":name{i}", f":value{i}")) for i in range(query.labels)
    )
    return (*labels, _SCHEDULE) if query.of_schedule else labels


@lru_cache(maxsize=200)
def ends(query: ListQuery) -> sa.TextClause:
    """Finds how far a page reads if it walks by each condition: its `low` or, oldest first, its `high`.

    The conditions are each label, the schedule, and accounts and states together; if there are none, all tasks.
    `skipped` is one less than the number of a condition's tasks that a page examines; `skipped_each` is the same of
    each range.
    """
    last = "OFFSET :skipped LIMIT 1"
    first, everything = ("min(task_key) + 1", ":high") if query.oldest_first else ("max(task_key)", ":low")
    walks = [_marked(mark, query, "", last) for mark in _marks(query)]
    if query.ranges:
        walks.append(_ranges(query, None, "OFFSET :skipped_each LIMIT 1"))
    if not walks:
        walks.append(_all(query, "", last))
    return sa.text(
        "SELECT " + ", ".join(f"coalesce((SELECT {first} FROM ({walk}) AS k), {everything})" for walk in walks)
    )


def keys(query: ListQuery, walk: int) -> str:
    """Returns a query of the first `limit` matching keys from `low` to below `high`, found by this walk."""
    marks = _marks(query)
    keyed = [mark.has("{of}") for i, mark in enumerate(marks) if i != walk]
    keyed += [_TOPIC] if query.of_topic else []
    if walk < len(marks):
        matches = _marked(marks[walk], query, _and([*_of("x", keyed), *_row_conditions(query)]), "LIMIT :limit")
    elif query.ranges:
        matches = _ranges(query, keyed, "LIMIT :limit")
    else:
        matches = _all(query, _and([*_of("t", keyed), *_examined(query)]), "LIMIT :limit")
    return f"SELECT task_key FROM ({matches}) AS k ORDER BY task_key{query.order} LIMIT :limit"


def _and(conditions: Iterable[str]) -> str:
    """Returns these conditions with an AND after each, to be put before another one."""
    return "".join(f"{condition} AND " for condition in conditions)


def _of(name: str, keyed: Iterable[str]) -> list[str]:
    """Returns the conditions on a key as those on the key of this row."""
    return [condition.format(of=name) for condition in keyed]


def _examined(query: ListQuery) -> list[str]:
    return [_EXAMINED[name] for name in query.examined]


def _row_conditions(query: ListQuery) -> list[str]:
    """Returns the filter of a task's own row and lease, as a condition on the key of `x`."""
    conditions = _own_conditions(query)
    return [_own_row(conditions)] if conditions else []


def _own_conditions(query: ListQuery) -> list[str]:
    """Returns the filter of a task's own row and lease, on a row `t`."""
    conditions = _examined(query)
    if query.of_accounts:
        conditions.append("t.account_id = ANY(CAST(:accounts AS bigint[]))")
    if query.statuses:
        conditions.append("(" + " OR ".join(_has_status(status) for status in query.statuses) + ")")
    return conditions


def _own_row(conditions: Iterable[str]) -> str:
    """Returns the conditions on a task `t`, as one on the key of `x`."""
    return f"EXISTS (SELECT FROM tasks AS t WHERE {_and(conditions)}t.task_key = x.task_key OFFSET 0)"


def _has_status(status: Status) -> str:
    if status in RUNNING:
        lease = f"l.task_key = t.task_key AND NOT l.revoked AND l.status = {status}"
        return f"EXISTS (SELECT FROM leases AS l WHERE {lease} OFFSET 0)"
    condition = f"t.status = {status}"
    return f"({condition} AND {_NOT_LEASED})" if status is Status.PENDING else condition


def _ranges(query: ListQuery, keyed: Sequence[str] | None, part: str) -> str:
    """Returns a part of each range, one for each state and account, of tasks that meet the other conditions too.

    The own row of each open task says `pending`; whether it runs is known from its lease, of which there are few.
    `keyed` are the conditions on keys. None: all tasks in a range, and those with a lease count as pending.
    """
    ranges = []
    for status in query.statuses or _OWN_STATUSES:
        shape = _running if status in RUNNING else _range
        ranges.append(f"({shape(status, query, keyed)} {part})")
    union = " UNION ALL ".join(ranges)
    return f"SELECT s.task_key FROM {EACH_ACCOUNT}, LATERAL ({union}) AS s" if query.of_accounts else union


def _running(status: Status, query: ListQuery, keyed: Sequence[str] | None) -> str:
    conditions = ["x.account_id = a.own"] if query.of_accounts else []
    conditions += ["NOT x.revoked", f"x.status = {status}"]
    if keyed is not None:
        conditions += _of("x", keyed)
        conditions += ["x.worker_id = :worker_id"] if "worker_id" in query.examined else []
        further = [_EXAMINED[name] for name in query.examined if name != "worker_id"]
        conditions += [_own_row(further)] if further else []
    return f"SELECT x.task_key FROM leases AS x WHERE {_and(conditions)}{_span('x', (), (), query)}"


def _range(status: Status, query: ListQuery, keyed: Sequence[str] | None) -> str:
    """Returns tasks whose own row has this status, as a range of an index whose first columns are equal in all of them.

    With `status = …` the planner would know that ordering by key alone gives the same order, and might walk past all
    newer tasks of other states or accounts.
    """
    conditions = []
    if keyed is not None:
        conditions = [*_of("t", keyed), *_examined(query)]
        conditions += [_NOT_LEASED] if status is Status.PENDING and query.statuses else []
    prefix = [("account_id", "a.own")] if query.of_accounts else []
    columns, same = zip(*prefix, ("status", str(int(status))), strict=True)
    return f"SELECT t.task_key FROM tasks AS t WHERE {_and(conditions)}{_span('t', columns, same, query)}"


def _marked(mark: Mark, query: ListQuery, conditions: str, part: str) -> str:
    span = _span("x", mark.columns, mark.values, query)
    return f"SELECT x.task_key {mark.source} AS x WHERE {conditions}{span} {part}"


def _all(query: ListQuery, conditions: str, part: str) -> str:
    return f"SELECT t.task_key FROM tasks AS t WHERE {conditions}{_span('t', (), (), query)} {part}"


def _span(table: str, columns: Sequence[str], same: Sequence[str], query: ListQuery) -> str:
    """Returns the condition that rows have the same values in these columns and keys of the span, and their order."""
    names = [f"{table}.{column}" for column in (*columns, "task_key")]
    row = ", ".join(names)
    order = ", ".join(f"{column}{query.order}" for column in names)
    low, high = (", ".join((*same, end)) for end in (":low", ":high"))
    return f"({row}) >= ({low}) AND ({row}) < ({high}) ORDER BY {order}"


FIRST_END, LAST_END = EndPlace(datetime.min.replace(tzinfo=UTC), 0), EndPlace(datetime.max.replace(tzinfo=UTC), KEY_MAX)


def ended(query: ListQuery, walk: int | None) -> str:
    """Returns a query of the first `rows` matching keys in the order of ends, behind a place.

    All tasks that this walk finds are sorted. None: it walks along the index of ends, up to `last_time`.
    """
    if walk is not None:
        return f"SELECT t.task_key {_ends(query, f't.task_key = ANY(ARRAY({keys(query, walk)})) AND ')} LIMIT :rows"
    keyed = [mark.has("{of}") for mark in _marks(query)] + ([_TOPIC] if query.of_topic else [])
    last = f"(t.end_time, t.task_key) {'<=' if query.oldest_first else '>='} (:last_time, :last_key)"
    return f"SELECT t.task_key {_ends(query, _and([*_of('t', keyed), *_own_conditions(query), last]))} LIMIT :rows"


@lru_cache(maxsize=2)
def last_examined(query: ListQuery) -> sa.TextClause:
    """Finds how far a page reads if it walks along the index of ends."""
    return sa.text(f"SELECT t.end_time, t.task_key {_ends(query, '')} OFFSET :skipped LIMIT 1")


def _ends(query: ListQuery, conditions: str) -> str:
    """Returns the tasks behind a place in the order of ends."""
    behind = f"(t.end_time, t.task_key) {'>' if query.oldest_first else '<'} (:end_time, :task_key)"
    order = f"t.end_time{query.order}, t.task_key{query.order}"
    return f"FROM tasks AS t WHERE {conditions}t.end_time IS NOT NULL AND {behind} ORDER BY {order}"
