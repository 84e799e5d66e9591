"""Requests with one field spoiled, made from their descriptors: a new field is spoiled too without being named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

MARK = "MARKED-TEXT"
NOT_UTF8 = b"\xff" * len(MARK)
NUL = "a\0b"

INTEGERS = {FieldDescriptor.TYPE_INT32: 32, FieldDescriptor.TYPE_INT64: 64}
BAD_DURATIONS = [(-1, 0), (0, -1), (0, 1_000_000_000), (315_576_000_001, 0), (1, -1)]
"""Seconds and nanos."""
BAD_TIMES = [(253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 1_000_000_000)]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field within a request: its path as errors have it, and how to set it."""

    path: str
    descriptor: FieldDescriptor
    set: Callable[[Message, Any], None]
    """Sets it in a request; where it is repeated, its first."""

    def is_a(self, message: str) -> bool:
        return _message_of(self.descriptor) == message


def leaves(
    descriptor: Descriptor, prefix: str = "", reach: Callable[[Message], Any] = lambda message: message
) -> Iterator[Leaf]:
    """Every field of a request but booleans, those of messages within it included; time and duration are leaves."""
    for field in descriptor.fields:
        name = prefix + field.name
        if _is_map(field):
            yield Leaf(name, field, _putting(reach, field.name, as_key=False))
            yield Leaf(f"{name} key", field, _putting(reach, field.name, as_key=True))
        elif _message_of(field) in {"", "google.protobuf.Duration", "google.protobuf.Timestamp"}:
            if field.type != FieldDescriptor.TYPE_BOOL:
                yield Leaf(f"{name}[0]" if field.is_repeated else name, field, _setting(reach, field))
        else:
            assert field.message_type
            path = f"{name}[0]." if field.is_repeated else f"{name}."
            yield from leaves(field.message_type, path, _within(reach, field))


def of_type(found: Iterator[Leaf], *types: int) -> list[Leaf]:
    """Those of a plain type; a map is of the type of its values, which here are texts."""
    return [leaf for leaf in found if leaf.descriptor.type in types or (is_text(leaf) and _TEXT in types)]


def is_text(leaf: Leaf) -> bool:
    """Also a map's, whose keys and values are texts here."""
    return _is_map(leaf.descriptor) or leaf.descriptor.type == _TEXT


def bad_numbers(leaf: Leaf) -> list[int]:
    """What no number of the contract may be."""
    return [-1, -(1 << (INTEGERS[leaf.descriptor.type] - 1))]


def extreme(leaf: Leaf) -> int:
    """The largest number that the field can hold."""
    return (1 << (INTEGERS[leaf.descriptor.type] - 1)) - 1


_TEXT = FieldDescriptor.TYPE_STRING


def _message_of(field: FieldDescriptor) -> str:
    return field.message_type.full_name if field.message_type else ""


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _within(reach: Callable[[Message], Any], field: FieldDescriptor) -> Callable[[Message], Any]:
    def into(request: Message) -> Any:
        value = getattr(reach(request), field.name)
        return (value[0] if value else value.add()) if field.is_repeated else value

    return into


def _setting(reach: Callable[[Message], Any], field: FieldDescriptor) -> Callable[[Message, Any], None]:
    def put(request: Message, value: Any) -> None:
        holder = reach(request)
        if field.message_type:
            message = getattr(holder, field.name)
            message.seconds, message.nanos = value
        elif field.is_repeated:
            getattr(holder, field.name)[:1] = [value]
        else:
            setattr(holder, field.name, value)

    return put


def _putting(reach: Callable[[Message], Any], name: str, *, as_key: bool) -> Callable[[Message, Any], None]:
    def put(request: Message, value: str) -> None:
        entries: Any = getattr(reach(request), name)
        entries.clear()
        entries.update({value: "v"} if as_key else {"k": value})

    return put


def named(leaf: Leaf, value: Any) -> str:
    """The path by which a violation names the leaf."""
    if leaf.path.endswith(" key"):
        shown = str(value).replace("\0", "\\0")
        return f'{leaf.path.removesuffix(" key")}["{shown}"]'
    return f'{leaf.path}["k"]' if _is_map(leaf.descriptor) else leaf.path
