"""Refuses submits before anything is stored: for their accounts, the accounts' quotas, or the queue's bound.

`submit` checks the calls of a group in order: the tasks of one count for those after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

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


def can_accept_all(
    context: SubmitContext, accounts: Iterable[int], group: Sequence[Sequence[NewTask]], max_queue_size: int
) -> bool:
    """Quick check, nearly always true: whether the tasks of these accounts can be stored, whatever they are."""
    found = [context.accounts.get(account_id) for account_id in accounts]
    plain = all(it and it.active and not it.max_priority and not it.max_pending for it in found)
    if not plain or context.pending + sum(map(len, group)) > max_queue_size:
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

    `uncounted`: how many pending tasks don't count against `max_queue_size`.
    """

    def __init__(
        self,
        context: SubmitContext,
        max_queue_size: int,
        uncounted: int = 0,
        known: KnownNames | None = None,
    ) -> None:
        self._context = context
        self._limit = max_queue_size
        self._due = context.pending - uncounted
        self._accounts = context.accounts
        self._pending = {account_id: account.pending for account_id, account in context.accounts.items()}
        self._taken = known or KnownNames(set(), set())

    def refusal(self, tasks: Sequence[NewTask], *, batch: bool) -> DomainError | None:
        """Returns why a call is refused; None if it is stored, or has only repeats."""
        new = self._new(tasks)
        more: dict[int, int] = {}
        due = 0
        for task in new.values():
            more[task.account_id] = more.get(task.account_id, 0) + 1
            due += counts_in_queue(task.schedule_time, self._context.now)
        why = self._bad_account(more) or self._bad_fields(new, batch=batch) or self._full(more, due)
        if why is None:
            self._due += due
            for account_id, number in more.items():
                self._pending[account_id] += number
            self._taken.add(new.values())
        return why

    def _new(self, tasks: Sequence[NewTask]) -> dict[int, NewTask]:
        """Returns the tasks that are no repeats, by their index in the call."""
        new: dict[int, NewTask] = {}
        own = KnownNames(set(), set())
        for i, task in enumerate(tasks):
            request, unique = (task.account_id, task.request_id), (task.account_id, task.unique_key)
            if task.request_id and (request in own.request_ids or request in self._taken.request_ids):
                continue
            if task.unique_key and (unique in own.unique_keys or unique in self._taken.unique_keys):
                continue
            own.add([task])
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

    def _bad_fields(self, new: Mapping[int, NewTask], *, batch: bool) -> DomainError | None:
        """All accounts exist."""
        bad = []
        for i, task in new.items():
            path = f"requests[{i}]." if batch else ""
            most = self._accounts[task.account_id].max_priority
            if 0 < most < task.priority:
                text = f"must be at most {most}, the max_priority of account {task.account_id}, is {task.priority}"
                bad.append(FieldViolation(f"{path}priority", text))
            if task.expire_time is not None and task.expire_time <= self._context.now:
                bad.append(FieldViolation(f"{path}expire_time", "must be in the future"))
        return InvalidArgument(bad) if bad else None

    def _full(self, more: Mapping[int, int], due: int) -> DomainError | None:
        """All accounts exist; `due` of the tasks count against the queue's bound."""
        for account_id, number in more.items():
            pending, most = self._pending[account_id], self._accounts[account_id].max_pending
            if most and pending + number > most:
                return AccountQueueFull(account_id, pending, most, number)
        return QueueFull(self._limit) if due and self._due + due > self._limit else None
