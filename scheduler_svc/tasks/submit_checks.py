"""Refuses submits before anything is stored: for their accounts, the accounts' quotas, or the queue's bound.

The calls of a group are checked in order: the tasks of one count for those after it. What other replicas are committing
is not seen, so each may exceed a bound by one group. Keys of new tasks are made here, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.domain.errors import (
    AccountInactive,
    AccountQueueFull,
    DomainError,
    FieldViolation,
    InvalidArgument,
    NotFound,
    QueueFull,
)
from scheduler_svc.domain.ids import SEQUENCE_BITS, make_key
from scheduler_svc.domain.task import NewTask, counts_in_queue
from scheduler_svc.tasks.rows import SubmitContext

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.transactions import Tx


_BLOCK = 1000


class TaskKeys:
    """Hands out task keys from blocks of the database's sequence. For one thread."""

    def __init__(self, cell: int = 0) -> None:
        self._cell = cell
        self._last = 0
        self._free: Iterator[int] = iter(())
        self._left = 0

    def take(self, tx: Tx, count: int) -> list[int]:
        """Returns so many new keys, in order."""
        return self._keys(self.numbers(tx, count))

    def at_hand(self, count: int) -> list[int] | None:
        """Returns so many new keys, in order; None if the database must be asked for more numbers."""
        if count > self._left:
            return None
        self._left -= count
        return self._keys(list(islice(self._free, count)))

    def numbers(self, tx: Tx, count: int) -> list[int]:
        """Returns so many new numbers of the sequence, for keys."""
        numbers: list[int] = []
        while True:
            free = list(islice(self._free, count - len(numbers)))
            self._left -= len(free)
            numbers += free
            if len(numbers) == count:
                return numbers
            first = tx.submits.next_keys()
            self._free, self._left = iter(range(first, first + _BLOCK)), _BLOCK

    def _keys(self, numbers: list[int]) -> list[int]:
        """In other cells than 0 a millisecond has few keys: then they go on in the next one.

        Of another replica may be the same one, once in a while; that transaction is run again, with further ones.
        """
        milliseconds = int(time.time() * 1000)
        if not self._cell:
            return sorted(make_key(milliseconds, number) for number in numbers)
        milliseconds = max(milliseconds, self._last >> SEQUENCE_BITS)
        keys = []
        for number in numbers:
            if make_key(milliseconds, number, self._cell) <= self._last:
                milliseconds += 1
            self._last = make_key(milliseconds, number, self._cell)
            keys.append(self._last)
        return keys


def can_accept_all(
    context: SubmitContext, accounts: Iterable[int], group: Sequence[Sequence[NewTask]], settings: Settings
) -> bool:
    """Returns, quickly and nearly always True, whether the tasks of these accounts can be stored, whatever they are."""
    plain = all(
        account and account.active and not account.max_priority and not account.max_pending
        for account in map(context.accounts.get, accounts)
    )
    if not plain or context.pending + sum(map(len, group)) > settings.max_queue_size:
        return False
    return not any(task.expire_time for tasks in group for task in tasks)


class KnownNames(NamedTuple):
    """Request ids and unique keys, with their accounts, by which tasks are there already."""

    request_ids: set[tuple[int, str]]
    unique_keys: set[tuple[int, str]]

    def add(self, tasks: Iterable[NewTask]) -> None:
        for task in tasks:
            if task.request_id:
                self.request_ids.add((task.account_id, task.request_id))
            if task.unique_key:
                self.unique_keys.add((task.account_id, task.unique_key))


class SubmitChecks:
    """For one group. A task whose request_id or unique_key is `known`, or repeats in the group, adds nothing.

    `uncounted`: how many pending tasks don't count against the queue's bound.
    """

    def __init__(
        self, context: SubmitContext, settings: Settings, uncounted: int = 0, known: KnownNames | None = None
    ) -> None:
        self._context = context
        self._limit = settings.max_queue_size
        self._due = context.pending - uncounted
        self._accounts = context.accounts
        self._pending = {account_id: account.pending for account_id, account in context.accounts.items()}
        self._taken = known or KnownNames(set(), set())

    def refusal(self, tasks: Sequence[NewTask], *, batch: bool) -> DomainError | None:
        """Returns why a call is refused; None if it is stored, or has only repeats."""
        new_tasks = self._new(tasks)
        counts: dict[int, int] = {}
        due = 0
        for task in new_tasks.values():
            counts[task.account_id] = counts.get(task.account_id, 0) + 1
            due += counts_in_queue(task.schedule_time, self._context.now)
        error = self._bad_account(counts) or self._bad_fields(new_tasks, batch=batch) or self._full(counts, due)
        if error is None:
            self._due += due
            for account_id, number in counts.items():
                self._pending[account_id] += number
            self._taken.add(new_tasks.values())
        return error

    def _new(self, tasks: Sequence[NewTask]) -> dict[int, NewTask]:
        """Returns the tasks that are no repeats, by their index in the call."""
        new_tasks: dict[int, NewTask] = {}
        names = KnownNames(set(), set())
        for i, task in enumerate(tasks):
            request, unique = (task.account_id, task.request_id), (task.account_id, task.unique_key)
            if task.request_id and (request in names.request_ids or request in self._taken.request_ids):
                continue
            if task.unique_key and (unique in names.unique_keys or unique in self._taken.unique_keys):
                continue
            names.add([task])
            new_tasks[i] = task
        return new_tasks

    def _bad_account(self, account_ids: Iterable[int]) -> DomainError | None:
        for account_id in account_ids:
            if account_id not in self._accounts:
                return NotFound("account", account_id)
        for account_id in account_ids:
            if not self._accounts[account_id].active:
                return AccountInactive(account_id)
        return None

    def _bad_fields(self, new: Mapping[int, NewTask], *, batch: bool) -> DomainError | None:
        """Returns why the fields are refused, or None. All accounts exist."""
        violations = []
        for i, task in new.items():
            path = f"requests[{i}]." if batch else ""
            most = self._accounts[task.account_id].max_priority
            if 0 < most < task.priority:
                text = f"must be at most {most}, the max_priority of account {task.account_id}, is {task.priority}"
                violations.append(FieldViolation(f"{path}priority", text))
            if task.expire_time is not None and task.expire_time <= self._context.now:
                violations.append(FieldViolation(f"{path}expire_time", "must be in the future"))
        return InvalidArgument(violations) if violations else None

    def _full(self, counts: Mapping[int, int], due: int) -> DomainError | None:
        """Returns the bound that is reached, or None. `due` of the tasks count against the queue's bound."""
        for account_id, number in counts.items():
            pending, most = self._pending[account_id], self._accounts[account_id].max_pending
            if most and pending + number > most:
                return AccountQueueFull(account_id, pending, most, number)
        return QueueFull(self._limit) if due and self._due + due > self._limit else None
