"""Keys and rows of new tasks, and the tasks as their submit is answered. Used by `submit` and `small_submits`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from scheduler_svc.application.records import LabelRow, NewTaskRow, PayloadRow, RequestId
from scheduler_svc.domain.ids import make_key
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import NewTask, Task

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

_BLOCK = 1000
_MILLISECOND = timedelta(milliseconds=1)


class TaskKeys:
    """Hands out task keys from blocks of the database's sequence. For one thread."""

    def __init__(self) -> None:
        self._free: Iterator[int] = iter(())
        self._left = 0

    def take(self, tx: Tx, count: int) -> list[int]:
        """Returns so many new keys, in order."""
        return _keys(self.numbers(tx, count))

    def at_hand(self, count: int) -> list[int] | None:
        """Returns so many new keys, in order; None if the database must be asked for more numbers."""
        if count > self._left:
            return None
        self._left -= count
        return _keys(list(islice(self._free, count)))

    def numbers(self, tx: Tx, count: int) -> list[int]:
        """Returns so many new numbers of the sequence, for keys."""
        numbers: list[int] = []
        while True:
            taken = list(islice(self._free, count - len(numbers)))
            self._left -= len(taken)
            numbers += taken
            if len(numbers) == count:
                return numbers
            first = tx.submits.next_keys()
            self._free, self._left = iter(range(first, first + _BLOCK)), _BLOCK


def _keys(numbers: list[int]) -> list[int]:
    milliseconds = int(time.time() * 1000)
    return sorted(make_key(milliseconds, number) for number in numbers)


def milliseconds(task: NewTask) -> int:
    """The time-out."""
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


def as_inserted(key: int, task: NewTask, now: datetime) -> Task:
    """The task as it is at first."""
    return Task(
        task_key=key,
        account_id=task.account_id,
        brief=task.brief,
        priority=task.priority,
        auto_approve=task.auto_approve,
        status=Status.PENDING,
        create_time=now,
        schedule_time=task.schedule_time,
        timeout=task.timeout,
        max_retries=task.max_retries,
        auto_retry=task.auto_retry,
        labels=task.labels,
        request_id=task.request_id,
        backoff=task.backoff,
        regenerates_content_id=task.regenerates_content_id,
        expire_time=task.expire_time,
        unique_key=task.unique_key,
        unique_for=task.unique_for,
        trace=task.trace,
    )
