"""Messages as the dicts of `results`, and Python's durations and times as protobuf's.

Each key of a dict is the field of its name, converted as field and type hint say. Layer: client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_type_hints, is_typeddict

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.client import results
from contentgen.v1 import (
    content_service_pb2,
    schedule_service_pb2,
    task_pb2,
    task_service_pb2,
    webhook_service_pb2,
)

TASK_STATUS: EnumDescriptor = task_pb2.TaskStatus.DESCRIPTOR
REVIEW_STATUS: EnumDescriptor = content_service_pb2.ReviewStatus.DESCRIPTOR
CATCH_UP: EnumDescriptor = schedule_service_pb2.CatchUp.DESCRIPTOR
OVERLAP: EnumDescriptor = schedule_service_pb2.Overlap.DESCRIPTOR
PUBLISH_STATUS: EnumDescriptor = content_service_pb2.PublishStatus.DESCRIPTOR
RESOLUTION: EnumDescriptor = task_service_pb2.Resolution.DESCRIPTOR
DELIVERY_STATUS: EnumDescriptor = webhook_service_pb2.DeliveryStatus.DESCRIPTOR

Document = TypeVar("Document")
Convert = Callable[[Any], Any]

_FIELDS = {
    "assigned_at": "assign_time",
    "completed_at": "end_time",
    "connected_at": "connect_time",
    "created_at": "create_time",
    "ended_at": "end_time",
    "error_details": "error.details",
    "error_message": "error.message",
    "error_reason": "error.reason",
    "last_heartbeat_at": "last_heartbeat_time",
    "last_run_at": "last_run_time",
    "next_attempt_at": "next_attempt_time",
    "next_runs_at": "next_run_times",
    "claim_expires_at": "claim_expire_time",
    "previous_secret_expires_at": "previous_secret_expire_time",
    "review_claim_expires_at": "review_claim_expire_time",
    "reviewed_at": "review_time",
    "run_at": "run_time",
    "scheduled_at": "schedule_time",
    "started_at": "start_time",
    "submitted_at": "submit_time",
    "timeout_at": "timeout_time",
    "until_at": "until_time",
    "unhealthy_since": "unhealthy_time",
    "worker_statuses": "workers",
}
"""The paths of the fields that keys of other names stand for."""
_WORKED_OUT: Mapping[tuple[object, str], Convert] = {
    (results.Task, "error"): lambda task: ": ".join(filter(None, (task.error.reason, task.error.message))) or None,
    (results.Worker, "running"): lambda worker: worker.running and not worker.draining,
    (results.WorkerPool, "total_slots"): lambda pool: sum(worker.slots for worker in pool.workers),
    (results.Replica, "lanes"): lambda replica: {lane.name: document(results.Lane, lane) for lane in replica.lanes},
    (results.Replica, "settings"): lambda replica: dict(sorted(replica.settings.items())),
}
"""Keys that stand for no one field."""


def document(kind: type[Document], message: Any) -> Document:
    """Returns a message as a dict of `results`, with its keys in their order.

    A time is ISO 8601 with UTC, a duration its seconds, an enum the name of its value. None: where the type of the key
    allows it, what is not set, or is empty or 0 where a field does not tell whether it is set.
    """
    getters = _getters(cast("Any", kind), message.DESCRIPTOR)
    return cast("Document", {key: get(message) for key, get in getters})


@cache
def _getters(kind: Any, message: Descriptor) -> list[tuple[str, Convert]]:
    """Returns how each key's value comes from a message."""
    return [
        (key, _WORKED_OUT.get((kind, key)) or _getter(message, _FIELDS.get(key, key), hint))
        for key, hint in get_type_hints(kind).items()
    ]


def _getter(message: Descriptor, path: str, hint: Any) -> Convert:
    """Returns how the value of a key of this type comes from the field at the end of a path."""
    first, _, rest = path.partition(".")
    field = message.fields_by_name[first]
    if rest:
        assert field.message_type
        inner, outer = _getter(field.message_type, rest, hint), attrgetter(first)
        return lambda message: inner(outer(message))
    get = attrgetter(first)
    if field.message_type and field.message_type.GetOptions().map_entry:
        return lambda message: dict(get(message))
    convert = _conversion(field, hint)
    if field.is_repeated:
        return lambda message: [convert(value) for value in get(message)] if convert else list(get(message))
    if NoneType not in get_args(hint):
        return (lambda message: convert(get(message))) if convert else get
    if field.has_presence:
        return lambda message: _converted(convert, get(message)) if message.HasField(first) else None
    return lambda message: _converted(convert, value) if (value := get(message)) else None


def _converted(convert: Convert | None, value: Any) -> Any:
    return convert(value) if convert else value


def _conversion(field: FieldDescriptor, hint: Any) -> Convert | None:
    """Returns what makes a field's value one of a dict. None: it is one."""
    if field.enum_type:
        return partial(label, field.enum_type)
    if field.message_type is None:
        return None
    if field.message_type is Timestamp.DESCRIPTOR:
        return moment
    if field.message_type is Duration.DESCRIPTOR:
        return seconds
    (kind,) = (part for part in (hint, *get_args(hint)) if is_typeddict(part))
    return lambda value: document(kind, value)


def seconds(length: Duration) -> float:
    return length.ToTimedelta().total_seconds()


def moment(stamp: Timestamp) -> str:
    return stamp.ToDatetime(tzinfo=UTC).isoformat()


@lru_cache(1_000)
def label(enum: EnumDescriptor, number: int) -> str:
    """Turns `TASK_STATUS_PENDING` into `pending`; a value that this client does not know is its number."""
    entry = enum.values_by_number.get(number)
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(number) if entry is None else entry.name.removeprefix(prefix).lower()


def value(enum: EnumDescriptor, name: str) -> Any:
    """Turns `pending` into `TASK_STATUS_PENDING`. Raises ValueError, which names those that exist."""
    numbers: Mapping[str, int] = {label(enum, entry.number): entry.number for entry in enum.values if entry.number}
    if name not in numbers:
        raise ValueError(f"{name!r} should be one of {', '.join(numbers)}")
    return numbers[name]


def duration(seconds: float | None) -> Duration | None:
    """Raises ValueError, OverflowError for what no Duration can hold."""
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def timestamp(moment: datetime | str | None) -> Timestamp | None:
    """Reads ISO 8601 if it is text; a moment without a zone is UTC. Raises ValueError for other text."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)
    return message
