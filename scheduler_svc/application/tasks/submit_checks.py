"""What a submit is refused for before anything is stored: its accounts, their quotas, the bound of the queue.

Used by `submit`, for the calls of a group in their order: what one adds counts for those after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from scheduler_svc.application.records import SubmitContext
from scheduler_svc.domain.bounds import counts_in_queue
from scheduler_svc.domain.errors import (
    AccountInactive,
    AccountQueueFull,
    DomainError,
    FieldViolation,
    InvalidArgument,
    NotFound,
    QueueFull,
)
from scheduler_svc.domain.task import NewTask


def fits_certainly(standing: SubmitContext, accounts: Iterable[int], tasks: int, max_queue_size: int) -> bool:
    """Whether so many tasks of these accounts can be taken whatever they are: as nearly always, and quick to say."""
    found = [standing.accounts.get(account_id) for account_id in accounts]
    plain = all(it and it.active and not it.max_priority and not it.max_pending for it in found)
    return plain and standing.pending + tasks <= max_queue_size


class SubmitChecks:
    """For one group. A task whose request_id is `known`, or comes again in the group, is a repeat and adds nothing.

    `beyond`: how many pending tasks don't count against `max_queue_size`.
    """

    def __init__(
        self,
        standing: SubmitContext,
        max_queue_size: int,
        beyond: int = 0,
        known: Set[tuple[int, str]] = frozenset(),
    ) -> None:
        self._standing = standing
        self._limit = max_queue_size
        self._due = standing.pending - beyond
        self._accounts = standing.accounts
        self._pending = {account_id: account.pending for account_id, account in standing.accounts.items()}
        self._taken = set(known)

    def refusal(self, tasks: Sequence[NewTask], *, batch: bool) -> DomainError | None:
        """Why a call is refused; None where it is taken, or has nothing but repeats."""
        new = self._new(tasks)
        more: dict[int, int] = {}
        due = 0
        for task in new.values():
            more[task.account_id] = more.get(task.account_id, 0) + 1
            due += counts_in_queue(task.schedule_time, self._standing.now)
        why = self._bad_account(more) or self._bad_priority(new, more, batch=batch) or self._full(more, due)
        if why is None:
            self._due += due
            for account_id, number in more.items():
                self._pending[account_id] += number
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

    def _bad_account(self, asked: Iterable[int]) -> DomainError | None:
        for account_id in asked:
            if account_id not in self._accounts:
                return NotFound("account", account_id)
        for account_id in asked:
            if not self._accounts[account_id].active:
                return AccountInactive(account_id)
        return None

    def _bad_priority(self, new: Mapping[int, NewTask], asked: Iterable[int], *, batch: bool) -> DomainError | None:
        """Of accounts that exist."""
        if not any(self._accounts[account_id].max_priority for account_id in asked):
            return None
        bad = []
        for i, task in new.items():
            most = self._accounts[task.account_id].max_priority
            if 0 < most < task.priority:
                field = f"requests[{i}].priority" if batch else "priority"
                text = f"must be at most {most}, the max_priority of account {task.account_id}, is {task.priority}"
                bad.append(FieldViolation(field, text))
        return InvalidArgument(bad) if bad else None

    def _full(self, more: Mapping[int, int], due: int) -> DomainError | None:
        """Of accounts that exist; `due` of the tasks count for the bound that all share."""
        for account_id, number in more.items():
            pending, most = self._pending[account_id], self._accounts[account_id].max_pending
            if most and pending + number > most:
                return AccountQueueFull(account_id, pending, most, number)
        return QueueFull(self._limit) if due and self._due + due > self._limit else None
