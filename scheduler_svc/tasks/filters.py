"""Reads the filter of a list or a bulk call, from `filter` and from older fields of the request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.brief import MAX_LENGTHS
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task_filter import TaskFilter
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.validation import MAX_NAME, Violations

MAX_REASONS = 100

T = TypeVar("T")
_Request = pb.ListTasksRequest | pb.BulkCancelTasksRequest | pb.BulkRetryTasksRequest | pb.CleanupTasksRequest


@dataclass(frozen=True, slots=True)
class RequestedFilter:
    """A filter within the accounts of the caller, and the one account that the request names; 0: all of these."""

    account_id: int
    wanted: TaskFilter

    def selection(self) -> tuple[object, ...]:
        """What makes a list another one, in types that JSON has."""
        task_filter = self.wanted
        parts: tuple[object, ...] = (self.account_id, sorted(task_filter.statuses), sorted(task_filter.labels.items()))
        if task_filter.schedule_id:
            parts = (*parts, task_filter.schedule_id)  # tokens of the version before stay valid
        times = [time and time.isoformat() for time in (task_filter.created_after, task_filter.created_before)]
        further = (sorted(task_filter.error_reasons), *times, task_filter.worker_id, task_filter.topic)
        return (*parts, *further) if any(further) else parts


def read_filter(request: _Request, bad: Violations, *, among: frozenset[Status] = frozenset(Status)) -> RequestedFilter:
    """The filter, whose states must be in `among`, if `bad` stays empty."""
    task_filter = request.filter
    bad.text("filter.worker_id", task_filter.worker_id, MAX_NAME)
    bad.text("filter.topic", task_filter.topic, MAX_LENGTHS["topic"])
    conditions = TaskFilter(
        scope=caller().scope,
        statuses=_either(request, "statuses", partial(bad.statuses, among=among), bad),
        labels=_either(request, "labels", bad.labels, bad),
        schedule_id=_either(request, "schedule_id", partial(_schedule_id, bad), bad) or None,
        error_reasons=_reasons(task_filter, bad),
        created_after=bad.optional_time("filter.created_after", task_filter),
        created_before=bad.optional_time("filter.created_before", task_filter),
        worker_id=task_filter.worker_id,
        topic=task_filter.topic,
    )
    return RequestedFilter(_either(request, "account_id", partial(_account_id, bad), bad), conditions)


def _either(request: _Request, name: str, read: Callable[[str, Any], T], violations: Violations) -> T:
    """A condition that a request may also have as a field of its own; what `read` makes of its path and value."""
    filtered = read(f"filter.{name}", getattr(request.filter, name))
    value = read(name, getattr(request, name)) if name in request.DESCRIPTOR.fields_by_name else None
    if value and filtered and value != filtered:
        violations.add(f"filter.{name}", f"must be equal to {name} if both are set")
    return value or filtered


def _account_id(violations: Violations, path: str, value: int) -> int:
    violations.account_filter(path, value)
    return value


def _schedule_id(violations: Violations, path: str, value: int) -> int:
    if value < 0:
        violations.add(path, f"must be a schedule's id, or 0 for any, is {value}")
    return value


def _reasons(task_filter: pb.TaskFilter, violations: Violations) -> tuple[str, ...]:
    if not violations.count("filter.error_reasons", len(task_filter.error_reasons), 0, MAX_REASONS):
        return ()
    for i, reason in enumerate(task_filter.error_reasons):
        violations.text(f"filter.error_reasons[{i}]", reason, MAX_NAME, required=True)
    return tuple(dict.fromkeys(task_filter.error_reasons))
