"""The ledger: what a transaction writes about moves, in one statement a kind at its end: history, counts, queues.

A claim and a small submit write their own, within their one statement.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler_svc.application.records import DelayedRow, DequeuedTask, EventRow, ReadyRow, TagReservation
from scheduler_svc.application.tasks.rollups import Rollup
from scheduler_svc.application.webhooks.events import LastMove, store_ended_tasks
from scheduler_svc.domain import fairness
from scheduler_svc.domain.bounds import day_of
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import MOVES, RUNNING, IllegalMove, Status

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

ALL_ACCOUNTS = 0
READY = 8
"""The kind of count of pending tasks that are due; 1 to 7 are the statuses."""

SCHEDULED, BACKOFF, BARRED = 1, 2, 3
"""Why a task is delayed: its schedule_time, the wait before another attempt, a revoked lease that still exists."""


class Ledger:
    """Collects moves; `write` stores them. One a transaction."""

    def __init__(self, tx: Tx, *, rolls_up: bool = True) -> None:
        """`rolls_up` False: the moves are of the past, and not counted in this hour."""
        self._tx = tx
        self.rollup = Rollup() if rolls_up else None
        self._events: list[EventRow] = []
        self._moves: Counter[tuple[int, Status, Status]] = Counter()
        self._ready_deltas: Counter[int] = Counter()
        self._scheduled: Counter[int] = Counter()
        self._untagged: Counter[int] = Counter()
        self._ready: list[ReadyRow] = []
        self._delayed: list[DelayedRow] = []
        self._expire_times: dict[int, datetime] = {}
        self._last_moves: dict[int, LastMove] | None = {} if tx.webhook_interest else None

    def move(
        self,
        task_key: int,
        account_id: int,
        source: Status,
        target: Status,
        reason: str,
        *,
        message: str = "",
        ref: LeaseRef | None = None,
        worker_id: str = "",
        retry_count: int | None = None,
    ) -> None:
        """Records one move; `retry_count`: the retries used by then, of moves back to pending.

        Raises IllegalMove if the transition table does not contain it.
        """
        if (source, target) not in MOVES:
            raise IllegalMove(f"{source.name} to {target.name}")
        attempt, fence = (ref.attempt, ref.fence) if ref else (0, None)
        self._events.append(
            EventRow(task_key, source, target, attempt, fence, worker_id or None, reason, message or None, retry_count)
        )
        self._moves[account_id, source, target] += 1
        if self._last_moves is not None:
            self._last_moves[task_key] = LastMove(account_id, target, reason)

    def enqueue(
        self,
        task_key: int,
        account_id: int,
        priority: int,
        attempt: int,
        timeout_ms: int,
        *,
        tag: float | None = None,
        expire_time: datetime | None = None,
    ) -> None:
        """Makes a task ready: with its former `tag`, or with its account's next one.

        `expire_time`: if no attempt of it has begun, when it expires.
        """
        if expire_time:
            self._expire_times[task_key] = expire_time
        self._ready.append(ReadyRow(task_key, priority, tag, account_id, attempt, timeout_ms))

    def delay(
        self,
        task_key: int,
        account_id: int,
        priority: int,
        attempt: int,
        timeout_ms: int,
        *,
        until: datetime,
        cause: int,
        tag: float | None = None,
        expire_time: datetime | None = None,
    ) -> None:
        if expire_time:
            self._expire_times[task_key] = expire_time
        if cause == SCHEDULED:
            self._scheduled[day_of(until)] += 1
        self._delayed.append(DelayedRow(task_key, priority, tag, account_id, attempt, timeout_ms, until, cause))

    def dequeued(self, waiting: DequeuedTask) -> None:
        """Counts a task taken out of its queue, and what it leaves to others of its account."""
        if waiting.cause == 0:
            self._ready_deltas[waiting.account_id] -= 1
            self._tx.signals.admit.add(waiting.account_id)
            if waiting.tag is not None:
                self._untagged[waiting.account_id] += 1
        elif waiting.cause == SCHEDULED and waiting.due_time is not None:
            self._scheduled[day_of(waiting.due_time)] -= 1

    def write(self) -> None:
        """Stores all that was collected. Tags are reserved last, since that locks rows that others wait for."""
        if self._events:
            self._tx.history.insert(self._events)
            self._tx.signals.moved = True
            if self.rollup:
                self._tx.signals.moves += self._events
        if self._last_moves:
            store_ended_tasks(self._tx, self._last_moves)
        if self._ready:
            self._ready_deltas.update(row.account_id for row in self._ready)
            self._tx.waiting.insert_ready(_with_tags(self._tx, self._ready))
        if self._delayed:
            self._tx.waiting.insert_delayed(self._delayed)
            self._tx.signals.due = True
        if self._expire_times:
            self._tx.expiry.set(self._expire_times)
            self._tx.signals.due = True
        self._tx.signals.released |= {
            account_id for account_id, source, target in self._moves if source in RUNNING and target not in RUNNING
        }
        self._tx.counts.add(self._deltas())
        if self.rollup:
            self._tx.rollups.add(self.rollup.rows(self._moves))
        if self._untagged:
            self._tx.start_quotas.subtract_tags(self._untagged)

    def _deltas(self) -> Counter[tuple[int, int]]:
        """Returns the changes in the counts of each account, of all accounts together, and of days."""
        deltas: Counter[tuple[int, int]] = Counter()
        for (account_id, source, target), n in self._moves.items():
            for account in (account_id, ALL_ACCOUNTS):
                if source is not Status.NONE:
                    deltas[account, source] -= n
                deltas[account, target] += n
        for account_id, n in self._ready_deltas.items():
            deltas[account_id, READY] += n
            deltas[ALL_ACCOUNTS, READY] += n
        for day, n in self._scheduled.items():
            deltas[-day, Status.PENDING] += n
        return deltas


def _with_tags(tx: Tx, rows: list[ReadyRow]) -> list[ReadyRow]:
    """Gives each row its former tag, or the next one of its account and priority, or none: then it waits for admission.

    A former tag does not go below the virtual time, which would then run backwards.
    """
    counts = Counter({(row.account_id, row.priority): 0 for row in rows})
    counts.update((row.account_id, row.priority) for row in rows if row.tag is None)
    reservations = tx.waiting.reserve(counts)
    own = {group: iter(fairness.tags(it.finish, it.admitted, it.weight)) for group, it in reservations.items()}
    tagged = []
    for key, priority, kept, account_id, attempt, timeout_ms in rows:
        group = account_id, priority
        reserved = reservations[group]
        tag = next(own[group], None) if kept is None or reserved.closed else kept
        if tag is not None:
            tag = max(tag, reserved.now)  # by rounding, a new one may be a little less, and claims would not see it
        tagged.append(ReadyRow(key, priority, tag, account_id, attempt, timeout_ms))
        signal_ready(tx, account_id, reserved, tagged=tag is not None)
    return tagged


def signal_ready(tx: Tx, account_id: int, reserved: TagReservation, *, tagged: bool) -> None:
    """Signals that there is work to claim; of an untagged task, that its account may have space in the window."""
    if tagged:
        tx.signals.ready = True
    elif reserved.may_admit:
        tx.signals.admit.add(account_id)
