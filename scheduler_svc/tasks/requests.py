"""What requests select: the filter of a list or a bulk call, and what WatchTasks watches, from where on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.errors import existing
from scheduler_svc.domain.ids import KEY_MAX, parse_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import MAX_LENGTHS, EndPlace, Task, TaskFilter, TaskOrder
from scheduler_svc.runtime import pages
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.validation import MAX_ITEMS, MAX_NAME, Violations
from scheduler_svc.tasks import messages
from scheduler_svc.tasks.tails import Piece, TailPosition
from scheduler_svc.watch.watches import TaskWatch
from scheduler_svc.watch.work import Position, Selection

MAX_REASONS = 100
T = TypeVar("T")
_Request = pb.ListTasksRequest | pb.BulkCancelTasksRequest | pb.BulkRetryTasksRequest | pb.CleanupTasksRequest


@dataclass(frozen=True, slots=True)
class RequestedFilter:
    """A filter within the accounts of the caller, and the one account that the request names; 0: all of these."""

    account_id: int
    wanted: TaskFilter

    def selection(self) -> tuple[object, ...]:
        """Returns what makes a list another one, in types that JSON has."""
        task_filter = self.wanted
        parts: tuple[object, ...] = (self.account_id, sorted(task_filter.statuses), sorted(task_filter.labels.items()))
        if task_filter.schedule_id:
            parts = (*parts, task_filter.schedule_id)  # tokens of the version before stay valid
        times = [time and time.isoformat() for time in (task_filter.created_after, task_filter.created_before)]
        further = (sorted(task_filter.error_reasons), *times, task_filter.worker_id, task_filter.topic)
        return (*parts, *further) if any(further) else parts


def read_filter(request: _Request, bad: Violations, *, among: frozenset[Status] = frozenset(Status)) -> RequestedFilter:
    """Returns the filter, whose states must be in `among`, if `bad` stays empty."""
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
    return RequestedFilter(_either(request, "account_id", bad.account_filter, bad), conditions)


def read_order(request: pb.ListTasksRequest, violations: Violations) -> TaskOrder:
    try:
        return TaskOrder(request.order_by or TaskOrder.NEWEST)
    except ValueError:
        violations.add("order_by", f"must be one of {', '.join(map(repr, map(str, TaskOrder)))}, or empty")
        return TaskOrder.NEWEST


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def end_place(position: list[int] | None) -> EndPlace | None:
    """Returns where a page of the order of ends goes on."""
    return None if position is None else EndPlace(_EPOCH + position[0] * _MICROSECOND, position[1])


def end_position(ended: Task | EndPlace) -> list[int]:
    """Returns where it is, as a token has it."""
    return [(cast(datetime, ended.end_time) - _EPOCH) // _MICROSECOND, ended.task_key]


def _either(request: _Request, name: str, read: Callable[[str, Any], T], violations: Violations) -> T:
    """Returns a condition that a request may also have as its own field; what `read` makes of its path and value."""
    filtered = read(f"filter.{name}", getattr(request.filter, name))
    value = read(name, getattr(request, name)) if name in request.DESCRIPTOR.fields_by_name else None
    if value and filtered and value != filtered:
        violations.add(f"filter.{name}", f"must be equal to {name} if both are set")
    return value or filtered


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


_MAX_TOKEN = 250
"""Characters that fit into the metadata of an error."""


def selection(request: pb.WatchTasksRequest, scope: Scope) -> Selection:
    """Returns what to watch: the tasks that are named, or all of the scope. Raises InvalidArgument, NotFound."""
    with Violations() as violations:
        violations.account_filter("account_id", request.account_id)
        if request.task_ids and request.account_id:
            violations.add("account_id", "must be 0 if task_ids are given")
        elif violations.count("task_ids", len(request.task_ids), 0, MAX_ITEMS):
            for i, task_id in enumerate(request.task_ids):
                violations.required(f"task_ids[{i}]", task_id)
    if not request.task_ids:
        return Selection(scope=scope)
    keys = {existing(parse_task_id(task_id), "task", task_id) for task_id in request.task_ids}
    return Selection(tuple(sorted(keys)))


def resume_position(request: pb.WatchTasksRequest, watched: Selection) -> tuple[Position, str] | None:
    """Returns the position and the history's id in the request's token; None if it has none. Raises InvalidArgument."""
    if not request.resume_token:
        return None
    with Violations() as violations:
        position = _read(request.resume_token, watched)
        if position is None:
            violations.add("resume_token", "must be a resume_token of WatchTasks with the same selection")
    return position


def resume_token(position: Position, origin: str, fingerprint: str) -> str:
    """Returns the token of a watch of the same selection from after this position; `origin`: the database's history."""
    return pages.write_token(*position, origin, fingerprint)


def tail_position(request: pb.TailAttemptRequest) -> TailPosition | None:
    """Returns the position in the request's token; None if it has none. Raises InvalidArgument."""
    with Violations() as violations:
        violations.required("task_id", request.task_id)
        if not request.resume_token:
            return None
        *position, task = pages.read_token(request.resume_token, parts=4, limit=_MAX_TOKEN) or (None,)
        if task != request.task_id or any(type(part) is not int or not 0 <= part <= KEY_MAX for part in position):
            violations.add("resume_token", "must be a resume_token of TailAttempt of the same task")
    return TailPosition(*cast(list[int], position))


def tail_response(task_id: str, piece: Piece) -> pb.TailAttemptResponse:
    return pb.TailAttemptResponse(
        output=piece.text,
        stderr=piece.stderr,
        left_out_bytes=piece.left_out,
        attempt=piece.position.attempt,
        worker_silent=piece.silent,
        resume_token=pages.write_token(*piece.position, task_id),
    )


class Responses:
    """A watch's messages, and its resume token."""

    def __init__(self, watch: TaskWatch, watched: Selection) -> None:
        self._watch = watch
        self._fingerprint = fingerprint(watched)

    @property
    def token(self) -> str:
        """The resume token of the watch's position."""
        return resume_token(self._watch.position, self._watch.origin, self._fingerprint)

    def encode(self, change: TaskChange) -> bytes:
        """Returns the message of the change at the watch's position: the same for every watch of the selection."""
        return pb.WatchTasksResponse(event=messages.task_change(change, self.token)).SerializeToString()


def _read(text: str, watched: Selection) -> tuple[Position, str] | None:
    parts = pages.read_token(text, parts=5, limit=_MAX_TOKEN) or ()
    if [type(part) for part in parts] != [int, int, bool, str, str]:
        return None
    number, key, listing, origin, token_fingerprint = cast(tuple[int, int, bool, str, str], tuple(parts))
    if not (0 <= number <= KEY_MAX and 0 <= key <= KEY_MAX) or token_fingerprint != fingerprint(watched):
        return None
    return Position(number, key, listing), origin


def fingerprint(watched: Selection) -> str:
    """Tokens of an account's watch, and of named tasks, stay valid across versions."""
    account_ids = () if watched.scope is None else watched.scope.accounts or ()
    return pages.fingerprint_of([account_ids[0] if len(account_ids) == 1 else list(account_ids) or 0, watched.keys])
