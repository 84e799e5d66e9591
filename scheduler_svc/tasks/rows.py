"""Rows that the work on tasks and its statements exchange, and those of a new task.

Their fields are in the order of the SQL's columns.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import NewTask, PayloadRow

_MILLISECOND = timedelta(milliseconds=1)


class NewTaskRow(NamedTuple):
    task_key: int
    account_id: int
    status: int
    priority: int
    auto_approve: bool
    auto_retry: bool
    max_retries: int
    timeout_ms: int
    schedule_time: datetime | None
    initial_backoff_ms: int | None
    backoff_multiplier: float | None
    max_backoff_ms: int | None


class LabelRow(NamedTuple):
    name: str
    value: str
    task_key: int


class FoundTasks(NamedTuple):
    """A page of a bulk call: the keys that match, and the last key that was examined (None: no more)."""

    keys: list[int]
    last: int | None


class BatchResult(NamedTuple):
    """Of a batch of a bulk call: the tasks that matched, those that it changed, and the last key (None: no more)."""

    matched: int
    changed: int
    last: int | None


class WaitsFor(NamedTuple):
    """What a pending task may wait for: the cause of its delay and its end, its account's state and the pool's."""

    cause: int | None
    limit_reached: bool
    quota_used: bool
    paused: bool
    budget_until: datetime | None
    any_worker: bool
    matched: bool
    due_time: datetime | None


class SubmitAccount(NamedTuple):
    """What a submit needs of an account; pending tasks are counted only if they are limited."""

    account_id: int
    active: bool
    max_priority: int
    max_pending: int
    pending: int


class SubmitContext(NamedTuple):
    """What a group of submits needs: the transaction's start, the number of pending tasks, the accounts that exist."""

    now: datetime
    pending: int
    accounts: dict[int, SubmitAccount]


class RequestId(NamedTuple):
    account_id: int
    request_id: str
    task_key: int
    fingerprint: bytes


class UniqueKey(NamedTuple):
    """The task that holds a unique key, and until when it does even if it has ended."""

    account_id: int
    unique_key: str
    task_key: int
    until: datetime

    @property
    def name(self) -> tuple[int, str]:
        return self.account_id, self.unique_key


def milliseconds(task: NewTask) -> int:
    return task.timeout // _MILLISECOND


def task_row(key: int, task: NewTask) -> NewTaskRow:
    return NewTaskRow(
        key,
        task.account_id,
        Status.PENDING.value,
        task.priority,
        task.auto_approve,
        task.auto_retry,
        task.max_retries,
        milliseconds(task),
        task.schedule_time,
        *task.backoff,
    )


def payload_row(key: int, task: NewTask) -> PayloadRow:
    return PayloadRow(key, task.brief, task.labels, task.request_id, task.trace)


def label_rows(key: int, task: NewTask) -> list[LabelRow]:
    return [LabelRow(name, value, key) for name, value in task.labels.items()]


def request_row(key: int, task: NewTask) -> RequestId:
    return RequestId(task.account_id, task.request_id, key, task.fingerprint())
