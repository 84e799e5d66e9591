"""The database of the model: the statements of a transaction over dictionaries.

The application runs on it unchanged: `Reports`, `open_session`, `claim`, `reap`, `promote_due`, `cancel_task`,
`retry_task`, `settle`, `update_account`. What stands here is what SQL does in production: each method does what the
statement of its name in the subjects' `sql.py` does, which tests/leases shows of the statements themselves.

There is one account, one priority and no order of dispatch: all that is kept of a tag is whether a task has one, and
all of a window is whether it is closed, and whether something waits behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from lab.model.tables import ACCOUNT, PRIORITY, LeaseRecord, ReadyRecord, SessionRecord, ShareRecord, Tables
from scheduler_svc.dispatch.rows import AccountQueue, Claimed, FlowMark
from scheduler_svc.domain.account import AccountChange, Scope
from scheduler_svc.domain.content import CompletedTask
from scheduler_svc.domain.dispatch import Flow
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Grant, LeaseEnd, ReaperRow, SessionRow
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import Brief
from scheduler_svc.domain.worker import DesiredState, Hello
from scheduler_svc.history.work import DelayedRow, DequeuedTask, ReadyRow, TagReservation
from scheduler_svc.leases.rows import (
    EndedAttempt,
    HeartbeatAnswer,
    HeartbeatRow,
    LeaseChange,
    LiveLease,
    NamedLease,
    RenewalResult,
    ReportedResult,
    TaskRow,
)
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.webhooks.work import WebhookInterest

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


Reads = Callable[[Callable[[], Any]], Any]
"""How a statement reads what it does not lock: at its beginning, before it waits for a row that another one has."""


class _Rows:
    def __init__(self, tables: Tables, first: Reads = lambda read: read()) -> None:
        self._tables = tables
        self._first = first


class WaitingRows(_Rows):
    """See `dispatch/sql/waiting.py`. What is delayed may become due at any time, unless a lease bars it."""

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
    """Returns what counts against the limit: all leases, revoked ones too, for their CLIs may still run."""
    return len(tables.leases)


class WindowRows(_Rows):
    """See `dispatch/sql/window.py`."""

    def close(self, account_id: int) -> None:
        share = self._tables.shares.get(account_id)
        self._tables.shares[account_id] = ShareRecord(True, share is not None and share.backlog)

    def lock(self, account_id: int) -> bool:
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

    def _of_tag(self, tagged: bool) -> list[int]:
        return sorted(key for key, row in self._tables.ready.items() if row.tagged is tagged)

    def _set_tags(self, keys: Sequence[int], *, tagged: bool) -> int:
        for key in keys:
            self._tables.ready[key] = self._tables.ready[key]._replace(tagged=tagged)
        return len(keys)


class AccountRows(_Rows):
    """See `accounts/sql.py`."""

    def update(self, account_id: int, change: AccountChange) -> object:
        assert change.max_concurrent_tasks is not None, "nothing else is changed here"
        self._tables.limits[account_id] = change.max_concurrent_tasks
        return change


NOW = datetime(2000, 1, 1, tzinfo=UTC)


def transaction(tables: Tables, timed_out: int | None = None, first: Reads = lambda read: read()) -> Tx:
    """Returns a transaction on the tables. `timed_out` is a task whose run has just taken too long."""
    parts = {
        "signals": CommitSignals(),
        "webhook_interest": WebhookInterest(()),
        "now": NOW,
        "tasks": _Tasks(tables),
        "waiting": WaitingRows(tables, first),
        "window": WindowRows(tables, first),
        "accounts": AccountRows(tables),
        "leases": _Leases(tables, timed_out),
        "workers": _Workers(tables),
        "reaper": _Reaper(tables),
        "history": SimpleNamespace(insert=lambda rows: None),
        "counts": SimpleNamespace(add=lambda deltas: None),
        "rollups": SimpleNamespace(add=lambda rows: None),
        "contents": SimpleNamespace(insert=lambda contents: None),
        "polls": SimpleNamespace(record_answers=lambda answers: []),
        "task_reads": SimpleNamespace(get=lambda keys: dict.fromkeys(keys, SimpleNamespace(status=Status.PENDING))),
    }
    return cast("Tx", SimpleNamespace(**parts))


class _Tasks(_Rows):
    """See `tasks/sql/tasks.py`."""

    def lock(self, keys: Sequence[int], *, skip_locked: bool = False) -> dict[int, TaskRow]:
        rows = {}
        for key in keys:
            task = self._tables.tasks[key]
            counters = (task.retry_count, task.max_retries, True, task.losses, task.refusals, task.deferrals)
            last = (task.attempt, task.fence, task.lease_end, task.worker_id)
            rows[key] = TaskRow(key, ACCOUNT, task.status, PRIORITY, *counters, 0, *last)
        return rows

    peek = lock

    def end_attempts(self, rows: Sequence[EndedAttempt]) -> int:
        count = 0
        for row in rows:
            task = self._tables.tasks[row.task_key]
            if task.status is not Status.PENDING or task.attempt >= row.attempt:
                continue
            task.attempt, task.fence, task.worker_id = row.attempt, row.fence, row.worker_id
            task.lease_end, task.status = LeaseEnd(row.lease_end), Status(row.status)
            task.retry_count, task.losses, task.refusals = row.retry_count, row.losses, row.refusals
            task.deferrals = row.deferrals
            task.failures += task.lease_end is LeaseEnd.FAILED
            count += 1
        return count

    def cancel_waiting(self, keys: Sequence[int], error: str) -> int:
        (task_key,) = keys
        task = self._tables.tasks[task_key]
        if task.status is not Status.PENDING:
            return 0
        task.status = Status.CANCELLED
        return 1

    def traces(self, keys: Sequence[int]) -> dict[int, str]:
        return {}

    def retry(self, task_key: int, status: Status, retry_count: int) -> int:
        task = self._tables.tasks[task_key]
        if task.status is not status:
            return 0
        task.status, task.retry_count = Status.PENDING, retry_count
        task.losses = task.refusals = task.deferrals = 0
        return 1


class _Leases(_Rows):
    """See `leases/sql.py`. With `fenced` off it finds a lease by its task alone."""

    def __init__(self, tables: Tables, timed_out: int | None) -> None:
        super().__init__(tables)
        self._timed_out = timed_out

    def claim(self, slots: Sequence[tuple[str, int]], ttl: float, selectors: Sequence[int] = ()) -> Claimed:
        sessions = self._tables.sessions
        head = sorted(key for key, row in self._tables.ready.items() if row.tagged)
        candidates = slots[: len(head)]
        closed_sessions = {
            session for name, session in candidates if name not in sessions or sessions[name].session_key != session
        }
        takers = [name for name, session in candidates if session not in closed_sessions]
        grants = [self._grant(key, name, ttl) for key, name in zip(head, takers, strict=False)]
        return Claimed(grants, frozenset(closed_sessions))

    def _grant(self, key: int, worker_id: str, ttl: float) -> Grant:
        attempt = self._tables.ready.pop(key).attempt
        ref = LeaseRef(key, attempt, attempt)
        if key in self._tables.leases:
            raise AssertionError("a task has two leases")
        self._tables.leases[key] = LeaseRecord(ref, worker_id, ttl)
        self._tables.tasks[key].granted = attempt
        return Grant(ref, Brief("", creator_options={}), worker_id, ACCOUNT, 5, 0, None, True, False)

    def lock(self, keys: Sequence[int]) -> dict[int, LiveLease]:
        return {key: _live(self._tables.leases[key]) for key in keys if key in self._tables.leases}

    def lock_of_worker(self, worker_id: str, *, skip_locked: bool = False) -> list[LiveLease]:
        return [_live(lease) for lease in self._tables.leases.values() if lease.worker_id == worker_id]

    def lock_expired(self, limit: int, but: Collection[int] = ()) -> list[LiveLease]:
        return [_live(lease) for lease in self._tables.leases.values() if lease.expires < 0][:limit]

    def lock_timed_out(self, ttl: float, limit: int, scope: Scope, but: Collection[int] = ()) -> list[LiveLease]:
        lease = self._tables.leases.get(self._timed_out or 0)
        if lease is None or lease.revoked or lease.expires < 0:
            return []
        return [_live(lease)._replace(accept_time=NOW)]

    def renew(self, named: Sequence[NamedLease], ttl: float, *, skip_locked: bool = False) -> RenewalResult:
        renewed = set()
        for ref in named:
            lease = self._find(LeaseRef(*ref[:3]))
            if lease is not None and lease.worker_id == ref.worker_id and not lease.revoked:
                lease.expires = max(lease.expires, ttl)
                renewed.add(LeaseRef(*ref[:3]))
        return RenewalResult(renewed, set())

    def settle_revoked(self, workers: Sequence[str], named: Sequence[LeaseRef]) -> list[int]:
        revoked = [lease for lease in self._tables.leases.values() if lease.revoked and lease.worker_id in workers]
        lost_refs = [lease.ref for lease in revoked if lease.named and lease.ref not in named]
        for lease in revoked:
            lease.named |= lease.ref in named
        return [ACCOUNT] * self.delete(lost_refs)

    def change(self, rows: Sequence[LeaseChange]) -> int:
        pairs = [(row, self._find(LeaseRef(*row[:3]))) for row in rows]
        matches = [(row, lease) for row, lease in pairs if lease is not None and not lease.revoked]
        for row, lease in matches:
            lease.status = Status.PROCESSING if row.processing else lease.status
        return len(matches)

    def delete(self, refs: Sequence[LeaseRef]) -> int:
        present_refs = [ref for ref in refs if self._find(ref) is not None]
        for ref in present_refs:
            del self._tables.leases[ref.task_key]
        return len(present_refs)

    def revoke(self, refs: Sequence[LeaseRef]) -> int:
        leases = [lease for ref in refs if (lease := self._find(ref)) is not None and not lease.revoked]
        for lease in leases:
            lease.revoked = True
        return len(leases)

    def complete(self, results: Sequence[ReportedResult], *, late: bool = False) -> list[CompletedTask]:
        refs = [LeaseRef(*result[:3]) for result in results]
        if late:
            return [self._completed(ref, Status.PENDING) for ref in refs if self._complete_late(ref)]
        leases = {ref: self._find(ref) for ref in refs}
        return [self._completed(ref, lease.status) for ref, lease in leases.items() if lease and self._complete(ref)]

    def _completed(self, ref: LeaseRef, stage: Status) -> CompletedTask:
        return CompletedTask(ref, 1, ACCOUNT, "", "", 5, None, False, 0.0, "", stage)

    def _complete(self, ref: LeaseRef) -> bool:
        lease, task = self._find(ref), self._tables.tasks[ref.task_key]
        if lease is None or lease.revoked or task.status is not Status.PENDING or task.attempt >= lease.ref.attempt:
            return False
        del self._tables.leases[ref.task_key]
        self._accept(ref)
        task.attempt, task.fence, task.worker_id = lease.ref.attempt, lease.ref.fence, lease.worker_id
        return True

    def _complete_late(self, ref: LeaseRef) -> bool:
        task = self._tables.tasks[ref.task_key]
        last = (task.attempt, task.fence, task.status, task.lease_end)
        if last != (ref.attempt, ref.fence, Status.PENDING, LeaseEnd.LOST) or ref.task_key in self._tables.leases:
            return False
        self._accept(ref)
        return True

    def _accept(self, ref: LeaseRef) -> None:
        task = self._tables.tasks[ref.task_key]
        task.status, task.lease_end, task.losses, task.refusals = Status.COMPLETED, LeaseEnd.COMPLETED, 0, 0
        task.accepted.append(ref.attempt)
        task.superseded |= ref.attempt != task.granted

    def _find(self, ref: LeaseRef) -> LeaseRecord | None:
        lease = self._tables.leases.get(ref.task_key)
        return lease if lease is not None and (lease.ref == ref or not self._tables.fenced) else None


def _live(lease: LeaseRecord) -> LiveLease:
    place = (ACCOUNT, 5, 0.0, 0)
    return LiveLease(lease.ref, lease.worker_id, lease.status, lease.revoked, *place, NOW, None, None)


class _Workers(_Rows):
    """See `leases/workers_sql.py`."""

    def lock(self, worker_id: str) -> SessionRow | None:
        row = self._tables.sessions.get(worker_id)
        return None if row is None else SessionRow(worker_id, row.session_number, "", row.silent_for)

    def open(self, hello: Hello, scheduler_id: str, *, replace: bool) -> tuple[int, DesiredState] | None:
        key = session_key(hello.worker_id, hello.session_number)
        self._tables.sessions[hello.worker_id] = SessionRecord(key, hello.session_number)
        return key, DesiredState()

    def record_heartbeats(self, rows: Sequence[HeartbeatRow]) -> dict[int, HeartbeatAnswer]:
        open_now = [row for row in rows if self._tables.sessions[row.worker_id].session_key == row.session_key]
        for row in open_now:
            self._tables.sessions[row.worker_id].silent_for = 0.0
        revoked = {lease.worker_id for lease in self._tables.leases.values() if lease.revoked}
        return {row.session_key: HeartbeatAnswer(DesiredState(), row.worker_id in revoked) for row in open_now}

    def close(self, worker_id: str, key: int) -> None:
        """Whether a worker is shown as connected is for people only."""


def session_key(worker_id: str, session_number: int) -> int:
    return session_number * 256 + ord(worker_id[0])


class _Reaper(_Rows):
    """See `leases/sql.py`."""

    def lock(self) -> tuple[ReaperRow, float]:
        return ReaperRow(self._tables.stamp, self._tables.guard), 0.0

    def stamp(self, row: ReaperRow) -> None:
        self._tables.stamp, self._tables.guard = row.stamp, row.expire_not_before
