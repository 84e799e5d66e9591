"""The ledger: what a transaction writes about moves, in one statement a kind at its end.

It writes history, counts, queues and rollups. A claim and a small submit write their own, within their one statement.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scheduler_svc.domain import dispatch, rollup
from scheduler_svc.domain.account import ALL_ACCOUNTS
from scheduler_svc.domain.content import CompletedTask
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import ENDED, PAIRS, RUNNING, EventRow, IllegalMove, Status, move_of, pair_of
from scheduler_svc.domain.resolution import COMPLETIONS
from scheduler_svc.domain.task import READY, SCHEDULED, day_of
from scheduler_svc.webhooks.work import LastMove, store_ended_tasks

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class ReadyRow(NamedTuple):
    """A pending task that is due; without a tag it waits for admission. `attempt` is its next lease's number."""

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int


class DelayedRow(NamedTuple):
    """A task that waits for a time; it has a `tag` if it keeps one."""

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int
    due_time: datetime
    cause: int


class DequeuedTask(NamedTuple):
    """A task taken out of `ready` or `delayed`; `cause` 0: it was ready, and has no `due_time`.

    `expire_time`: if it is not leased before then, it is cancelled.
    """

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int
    cause: int
    due_time: datetime | None = None
    expire_time: datetime | None = None
    ready_time: datetime | None = None

    @property
    def place(self) -> ReadyRow:
        """The row that puts it into `ready`, with the tag it had; its first six fields are that row's."""
        return ReadyRow(*self[:6])


class TagReservation(NamedTuple):
    """The tags that an account may add to a priority: for `admitted` of the tasks it asked for, up to `finish`.

    `closed`: its limit or a pause decides instead; requeued tasks then lose their tag.
    """

    finish: float
    weight: float
    admitted: int
    now: float
    closed: bool

    @property
    def may_admit(self) -> bool:
        """Whether there may be space for tasks that got no tag: another look decides."""
        return self.closed or self.now > dispatch.refill(self.finish, self.weight)


MAX_FOLDED = 10_000
"""Rows that one transaction folds. Of many accounts each has a few: the more rows at once, the fewer updates a row."""


_Edge: TypeAlias = tuple[int, Status, Status]
"""An account, and the source and the target of moves of its tasks."""


class Rollup:
    def __init__(self) -> None:
        self._durations: defaultdict[int, list[float]] = defaultdict(list)
        self._costs: defaultdict[int, float] = defaultdict(float)

    def completed(self, account_id: int, seconds: float, cost: float = 0.0) -> None:
        """Adds how long the attempt took that completed a task, and what its content has cost."""
        self._durations[account_id].append(seconds)
        if cost:
            self._costs[account_id] += cost

    @property
    def has_costs(self) -> bool:
        return bool(self._costs)

    def numbers(self, moves: Mapping[_Edge, int]) -> dict[int, dict[int, float]]:
        """Returns all that is to be added, by account and kind, with these moves by account, source and target.

        A failure that the same transaction retries is no end, and a retry that comes later takes none back.
        """
        counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for (account_id, source, target), n in moves.items():
            if source is Status.NONE:
                counts[account_id][rollup.SUBMITTED] += n
            if target in ENDED:
                counts[account_id][target] += n
            if source in ENDED:
                counts[account_id][source] -= n
        for account_id, durations in self._durations.items():
            counts[account_id].update(map(rollup.bucket, durations))
        numbers: dict[int, dict[int, float]] = {account_id: {**+counted} for account_id, counted in counts.items()}
        for account_id, cost in self._costs.items():
            numbers[account_id][rollup.COST] = cost
        return {account_id: added for account_id, added in numbers.items() if added}


def fold_rollups(tx: Tx) -> bool:
    """Folds rows of transactions into the rollups; returns whether there may be more."""
    return tx.rollups.fold(MAX_FOLDED) == MAX_FOLDED


class Ledger:
    """Collects moves; `write` stores them. Each transaction has one of its own."""

    def __init__(self, tx: Tx, *, rolls_up: bool = True) -> None:
        """`rolls_up` False: the moves are of the past, and not counted in this hour."""
        self._tx = tx
        self.rollup = Rollup() if rolls_up else None
        self._events: list[EventRow] = []
        self._completed: list[CompletedTask] = []
        self._moves: Counter[tuple[int, int, str]] = Counter()
        """By account, source and target as a number of `PAIRS`, and reason."""
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
        pair = pair_of(source, target)
        if pair not in PAIRS:
            raise IllegalMove(f"{source.name} to {target.name}")
        attempt, fence = (ref.attempt, ref.fence) if ref else (0, None)
        self._events.append(
            EventRow(task_key, source, target, attempt, fence, worker_id or None, reason, message or None, retry_count)
        )
        self._moves[account_id, pair, reason] += 1
        if self._last_moves is not None:
            self._last_moves[task_key] = LastMove(account_id, target, reason)

    def completed(self, tasks: Sequence[CompletedTask]) -> None:
        """Counts the moves of completed tasks, which a statement has appended to the history."""
        self._completed += tasks
        for (account_id, stage), n in Counter([(task.account_id, task.stage) for task in tasks]).items():
            for step in COMPLETIONS[stage]:
                self._moves[account_id, pair_of(step.source, step.target), step.reason] += n
        if self._last_moves is not None:
            for task in tasks:
                last = COMPLETIONS[task.stage][-1]
                self._last_moves[task.ref.task_key] = LastMove(task.account_id, last.target, last.reason)

    def enqueue(
        self, place: ReadyRow, *, until: datetime | None = None, cause: int = 0, expire_time: datetime | None = None
    ) -> None:
        """Makes a task ready, with its former tag or with its account's next one; or delays it `until` then.

        `cause`: of the delay, if it is delayed. `expire_time`: if no attempt of it has begun, when it expires.
        """
        if expire_time:
            self._expire_times[place.task_key] = expire_time
        if until is None:
            self._ready.append(place)
            return
        if cause == SCHEDULED:
            self._scheduled[day_of(until)] += 1
        self._delayed.append(DelayedRow(*place, until, cause))

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
        moves = self._signal_moves()
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
            account_id for account_id, source, target in moves if source in RUNNING and target not in RUNNING
        }
        self._tx.counts.add(self._deltas(moves))
        if self.rollup:
            self._tx.rollups.add(self.rollup.numbers(moves))
            self._tx.signals.spent |= self.rollup.has_costs
        if self._untagged:
            self._tx.start_quotas.subtract_tags(self._untagged)

    def _signal_moves(self) -> Counter[_Edge]:
        """Returns how many moves were made."""
        moves: Counter[_Edge] = Counter()
        for (account_id, pair, reason), n in self._moves.items():
            source, target = move_of(pair)
            moves[account_id, source, target] += n
            if self.rollup:
                self._tx.signals.moves[source, target, reason] += n
        self._tx.signals.moved |= bool(moves)
        if self.rollup:
            self._tx.signals.endings = self._endings()
        return moves

    def _endings(self) -> Mapping[Status, list[int]]:
        """Returns the tasks that have ended, by state. One that the same transaction gives a retry has not."""
        endings: defaultdict[Status, list[int]] = defaultdict(list)
        if self._completed:
            endings[Status.COMPLETED] = [task.ref.task_key for task in self._completed]
        for task_key, status in {event.task_key: event.status for event in self._events}.items():
            if status >= Status.COMPLETED:
                endings[Status(status)].append(task_key)
        return endings

    def _deltas(self, moves: Mapping[_Edge, int]) -> Counter[tuple[int, int]]:
        """Returns the changes in the counts of each account, of all accounts together, and of days."""
        deltas: Counter[tuple[int, int]] = Counter()
        for (account_id, source, target), n in moves.items():
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
    tags = {
        group: iter(dispatch.tags(reservation.finish, reservation.admitted, reservation.weight))
        for group, reservation in reservations.items()
    }
    tagged = []
    for key, priority, kept, account_id, attempt, timeout_ms in rows:
        group = account_id, priority
        reserved = reservations[group]
        tag = next(tags[group], None) if kept is None or reserved.closed else kept
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


def fold_counts(tx: Tx) -> int:
    return tx.counts.fold(MAX_FOLDED)
