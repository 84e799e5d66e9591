"""The message of a submit, from what Python has for its fields. Layer: client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from contentgen.client.fields import duration, timestamp
from contentgen.submit_fields import BY_NAME, FIELDS, Kind
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb

_MESSAGES: Mapping[Kind, Callable[[Any], Any]] = {Kind.LENGTH: duration, Kind.TIME: timestamp}
_CONVERTERS = {field.name: _MESSAGES[field.kind] for field in FIELDS if field.kind in _MESSAGES}


def submit_request(**given: Any) -> pb.SubmitTaskRequest:
    """Returns a submit with these fields. See `set_field`."""
    request = pb.SubmitTaskRequest()
    for name, value in given.items():
        set_field(request, name, value)
    return request


def set_field(message: pb.SubmitTaskRequest | task_pb2.Task, name: str, value: Any) -> None:
    """Sets a field of a submit, or that of a task with the same name.

    Lengths are seconds, times datetimes or ISO 8601, pairs a mapping that replaces the one before; None is unset.

    Raises ValueError for a name that no field has and a value that is none of the field, TypeError for another type.
    """
    field = BY_NAME.get(name)
    if field is None:
        raise ValueError(f"{name!r} is no field of a submit; there are: {', '.join(BY_NAME)}")
    if value is None:
        return
    if field.kind is Kind.PAIRS:
        field_map = getattr(message, name)
        field_map.clear()
        field_map.update(value)
    elif convert := _CONVERTERS.get(name):
        getattr(message, name).CopyFrom(convert(value))
    else:
        setattr(message, name, value)
