"""Messages as documents: what `--output json` prints, and what tables are made of.

A document has the message's fields by their names in the contract. Times are ISO 8601 in UTC,
durations are seconds, states are lower-case names, and what is not there (an unset message, an empty text, no content)
is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.client.documents import label

Document = dict[str, Any]

_NONE: dict[str, object] = dict.fromkeys(
    ("content_id", "regenerates_content_id", "superseded_by_content_id", "schedule_id"), 0
)
"""Fields whose zero means that there is none."""


def document(message: Message) -> Document:
    """All fields of a message, those of its messages within."""
    fields: Sequence[FieldDescriptor] = message.DESCRIPTOR.fields  # type: ignore[assignment] # upb's class is as good
    return {field.name: _value(message, field) for field in fields}


def _value(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return dict(sorted(value.items())) if _is_map(field) else [_single(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(field, value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return label(field.enum_type, value) if value else None
    if isinstance(value, Timestamp):
        return value.ToDatetime(tzinfo=UTC).isoformat()
    if isinstance(value, Duration):
        return value.seconds + value.nanos / 1e9
    if isinstance(value, Message):
        return document(value)
    return None if value in {"", _NONE.get(field.name)} else value
