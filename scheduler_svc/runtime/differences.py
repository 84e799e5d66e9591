"""What an update has changed, in a line: values of numbers, choices and times; of texts only their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_CHANGES = 1_000
"""Characters of a line."""
_TOLD_TEXTS = ("cron", "time_zone")
"""Texts that hold no secret, and are short."""
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def differences(before: Message, after: Message, names: Iterable[str]) -> str:
    """Returns which of these fields differ, and how, such as `priority: 0 -> 10; labels`."""
    fields = before.DESCRIPTOR.fields_by_name
    changed = (
        (name, value(before, name), value(after, name))
        for name in sorted(set(names).intersection(fields))
        if getattr(before, name) != getattr(after, name)
    )
    return "; ".join(f"{name}: {old} -> {new}" if old and new else name for name, old, new in changed)[:MAX_CHANGES]


def value(message: Message, name: str) -> str:
    """Returns a field's value in a word; empty for one that is not told: a text, a list or another message."""
    field = message.DESCRIPTOR.fields_by_name[name]
    content = getattr(message, name)
    if field.is_repeated or (field.cpp_type == FieldDescriptor.CPPTYPE_STRING and name not in _TOLD_TEXTS):
        return ""
    if field.enum_type:
        prefix = _WORD.sub("_", field.enum_type.name).upper() + "_"
        return str(field.enum_type.values_by_number[content].name).removeprefix(prefix).lower()
    if field.message_type:
        if field.message_type.name not in {"Timestamp", "Duration"}:
            return ""
        return content.ToJsonString() if message.HasField(name) else "none"
    return str(content).lower() if isinstance(content, bool) else str(content)
