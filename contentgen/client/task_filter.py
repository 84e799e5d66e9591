"""The conditions of a list of tasks, and of the calls that move many. Layer: client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypedDict

from contentgen.client.documents import TASK_STATUS, value
from contentgen.client.fields import timestamp
from contentgen.client.results import TaskStatus
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb


class TaskFilter(TypedDict, total=False):
    """Conditions that hold together, beside `account_id` and `status`; None and empty: any."""

    labels: Mapping[str, str] | None
    """Only with all of these labels."""
    schedule_id: int | None
    """Only those that this schedule submitted."""
    error_reasons: Sequence[str]
    """Only with an error of one of these reasons, such as `CREATOR_ERROR`."""
    created_after: datetime | str | None
    """Only those created then or later; a time without a zone is UTC."""
    created_before: datetime | str | None
    """Only those created earlier than that."""
    worker_id: str
    """Only those that this worker runs, or ran last."""
    topic: str
    """Only with this text in the topic, whatever the case."""


def task_filter(more: TaskFilter, status: TaskStatus | Sequence[TaskStatus] | None = None) -> pb.TaskFilter:
    """Raises ValueError for a state or a time that does not exist, or a name that is no condition."""
    fields = dict(more)
    times = {name: timestamp(fields.pop(name, None)) for name in ("created_after", "created_before")}  # type: ignore[arg-type]
    return pb.TaskFilter(statuses=task_statuses(status), **times, **fields)  # type: ignore[arg-type] # by its own names


def task_statuses(status: TaskStatus | Sequence[TaskStatus] | None) -> list[task_pb2.TaskStatus.ValueType]:
    """Raises ValueError for a state that does not exist."""
    names = [status] if isinstance(status, str) else status or ()
    return [value(TASK_STATUS, name) for name in names]
