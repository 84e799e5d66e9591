"""The model's `ready`, `delayed`, `shares` and `accounts`: what waits, and what may be claimed.

There is one account, one priority and no order of dispatch: all that is kept of a tag is whether a task has one, and
all of a window is whether it is closed, and whether something waits behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lab.model.tables import ACCOUNT, PRIORITY, ReadyRecord, ShareRecord, Tables
from scheduler_svc.dispatch.rows import AccountQueue, FlowMark
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.dispatch import Flow
from scheduler_svc.history.work import DelayedRow, DequeuedTask, ReadyRow, TagReservation

Reads = Callable[[Callable[[], Any]], Any]
"""How a statement reads what it does not lock: at its beginning, before it waits for a row that another one has."""


class WaitingRows:
    """See `dispatch/sql/waiting.py`. What is delayed may become due at any time, unless a lease bars it."""

    def __init__(self, tables: Tables, first: Reads) -> None:
        self._tables = tables
        self._first = first

    def reserve(self, counts: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], TagReservation]:
        return {group: self._turn(count) for group, count in counts.items()}

    def _turn(self, count: int) -> TagReservation:
        """The account's row decides; where there is none, it is made by the limit as that stood at first."""
        share = self._tables.shares.get(ACCOUNT)
        if share is None:
            share = ShareRecord(self._first(lambda: self._tables.limits[ACCOUNT] > 0), backlog=False)
        admitted = 0 if share.closed or share.backlog else count
        self._tables.shares[ACCOUNT] = ShareRecord(share.closed, share.backlog or admitted < count)
        return TagReservation(float(admitted), 1.0, admitted, 0.0, share.closed)

    def insert_ready(self, rows: Sequence[ReadyRow]) -> None:
        for row in rows:
            self._insert(row.task_key)
            self._tables.ready[row.task_key] = ReadyRecord(row.attempt, row.tag is not None)

    def insert_delayed(self, rows: Sequence[DelayedRow]) -> None:
        for row in rows:
            self._insert(row.task_key)
            self._tables.delayed[row.task_key] = row.attempt, row.cause

    def _insert(self, key: int) -> None:
        if key in self._tables.ready or key in self._tables.delayed:
            raise AssertionError("a task waits twice")

    def remove(self, keys: Sequence[int]) -> dict[int, DequeuedTask]:
        return {key: row for key in keys if (row := self._take(key)) is not None}

    def remove_next(self, rows: Sequence[tuple[int, int]]) -> dict[int, DequeuedTask]:
        tables = self._tables
        both = (tables.ready, tables.delayed)
        return self.remove(
            [key for key, attempt in rows if any(key in index and index[key][0] == attempt for index in both)]
        )

    def take_due(self, limit: int, but: Collection[int] = ()) -> list[DequeuedTask]:
        due = [key for key in self._tables.delayed if key not in self._tables.leases]
        return list(self.remove(due[:limit]).values())

    def next_due(self) -> float | None:
        return None

    def _take(self, key: int) -> DequeuedTask | None:
        if key in self._tables.delayed:
            attempt, cause = self._tables.delayed.pop(key)
        elif key in self._tables.ready:
            attempt, cause = self._tables.ready.pop(key).attempt, 0
        else:
            return None
        return DequeuedTask(key, PRIORITY, None, ACCOUNT, attempt, 0, cause)


def seats_taken(tables: Tables) -> int:
    """What counts against the limit: all leases, revoked ones too, for their CLIs may still run."""
    return len(tables.leases)


class WindowRows:
    """See `dispatch/sql/window.py`."""

    def __init__(self, tables: Tables, first: Reads) -> None:
        self._tables = tables
        self._first = first

    def close(self, account_id: int) -> None:
        self._tables.shares[account_id] = ShareRecord(True, account_id in self._tables.shares and self._share.backlog)

    def lock(self, account_id: int) -> bool:
        """Returns whether there is a row to be locked."""
        return account_id in self._tables.shares

    def account_queue(self, account_id: int, count_limit: int) -> AccountQueue | None:
        tables = self._tables
        if account_id not in tables.shares:
            return None
        tagged = sum(row.tagged for row in tables.ready.values())
        line = Flow(PRIORITY, 0.0, 0.0, tagged, len(tables.ready) - tagged)
        return AccountQueue(1.0, tables.limits[account_id], False, seats_taken(tables), (line,))

    def admit(self, account_id: int, priority: int, count: int, start: float, weight: float) -> int:
        return self._set_tags(self._of_tag(False)[:count], tagged=True)

    def untag(self, account_id: int, priority: int, count: int) -> int:
        keys = self._first(lambda: self._of_tag(True)[-count:])
        return self._set_tags([key for key in keys if key in self._tables.ready], tagged=False)

    def mark(self, account_id: int, lines: Sequence[FlowMark], *, closed: bool) -> None:
        self._tables.shares[account_id] = ShareRecord(closed, lines[0].backlog)

    @property
    def _share(self) -> ShareRecord:
        return self._tables.shares[ACCOUNT]

    def _of_tag(self, tagged: bool) -> list[int]:
        return sorted(key for key, row in self._tables.ready.items() if row.tagged is tagged)

    def _set_tags(self, keys: Sequence[int], *, tagged: bool) -> int:
        for key in keys:
            self._tables.ready[key] = self._tables.ready[key]._replace(tagged=tagged)
        return len(keys)


class AccountRows:
    """See `accounts/sql.py`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def update(self, account_id: int, change: AccountChange) -> object:
        assert change.max_concurrent_tasks is not None, "nothing else is changed here"
        self._tables.limits[account_id] = change.max_concurrent_tasks
        return change
