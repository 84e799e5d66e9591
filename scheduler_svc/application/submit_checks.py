"""What a submit is refused for before anything is stored: its accounts, their quotas, the bound of the queue.

Used by `submit`, for the calls of a group in their order: what one adds counts for those after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

from scheduler_svc.application.records import Standing
from scheduler_svc.domain import queue_bound
from scheduler_svc.domain.errors import (
    AccountInactive,
    AccountQueueFull,
    DomainError,
    InvalidArgument,
    NotFound,
    QueueFull,
    Violation,
)
from scheduler_svc.domain.task import NewTask


class SubmitChecks:
    """For one group. A task whose request_id is `known`, or comes again in the group, is a repeat and adds nothing.

    `beyond`: how many pending tasks don't count against `max_queue_size`.
    """

    def __init__(
        self,
        standing: Standing,
        max_queue_size: int,
        beyond: int = 0,
        known: Set[tuple[int, str]] = frozenset(),
    ) -> None:
        self._standing = standing
        self._limit = max_queue_size
        self._due = standing.pending - beyond
        self._added: Counter[int] = Counter()
        self._taken = set(known)

    def refusal(self, tasks: Sequence[NewTask], *, batch: bool) -> DomainError | None:
        """Why a call is refused; None where it is taken, or has nothing but repeats."""
        new = self._new(tasks)
        why = self._bad_account(new) or self._bad_priority(new, batch=batch) or self._full(new)
        if why is None:
            self._due += self._count_due(new)
            self._added.update(task.account_id for task in new.values())
            self._taken.update((task.account_id, task.request_id) for task in new.values() if task.request_id)
        return why

    def _new(self, tasks: Sequence[NewTask]) -> dict[int, NewTask]:
        """Those that are no repeats, by their place in the call."""
        new: dict[int, NewTask] = {}
        named: set[tuple[int, str]] = set()
        for i, task in enumerate(tasks):
            name = task.account_id, task.request_id
            if not task.request_id:
                new[i] = task
            elif name not in named and name not in self._taken:
                named.add(name)
                new[i] = task
        return new

    def _count_due(self, new: Mapping[int, NewTask]) -> int:
        """How many count against the bound of the queue."""
        return sum(queue_bound.counts(task.schedule_time, self._standing.now) for task in new.values())

    def _bad_account(self, new: Mapping[int, NewTask]) -> DomainError | None:
        accounts = self._standing.accounts
        ids = dict.fromkeys(task.account_id for task in new.values())
        if missing := [account_id for account_id in ids if account_id not in accounts]:
            return NotFound("account", missing[0])
        if inactive := [account_id for account_id in ids if not accounts[account_id].active]:
            return AccountInactive(inactive[0])
        return None

    def _bad_priority(self, new: Mapping[int, NewTask], *, batch: bool) -> DomainError | None:
        """The accounts exist."""
        bad = []
        for i, task in new.items():
            most = self._standing.accounts[task.account_id].max_priority
            if 0 < most < task.priority:
                field = f"requests[{i}].priority" if batch else "priority"
                text = f"must be at most {most}, the max_priority of account {task.account_id}, is {task.priority}"
                bad.append(Violation(field, text))
        return InvalidArgument(bad) if bad else None

    def _full(self, new: Mapping[int, NewTask]) -> DomainError | None:
        """The accounts exist."""
        for account_id, more in Counter(task.account_id for task in new.values()).items():
            account = self._standing.accounts[account_id]
            pending = account.pending + self._added[account_id]
            if account.max_pending and pending + more > account.max_pending:
                return AccountQueueFull(account_id, pending, account.max_pending, more)
        due = self._count_due(new)
        return QueueFull(self._limit) if due and self._due + due > self._limit else None
