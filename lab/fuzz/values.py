"""Single values: what a field may well hold, what it should not, and the live ids that a run has learnt."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_VALUES = 64
"""Values that are kept of each field; a new one takes the place of an old one."""
_TOKENS = {"next_page_token": "page_token"}
_LISTS = {"task_ids": "task_id", "missing_task_ids": "task_id", "keep_leases": "lease_id", "lost_leases": "lease_id"}


class Known:
    """Values by field name. `fixed` ones stay; `protected` ones, of the honest, are never taken."""

    def __init__(self, fixed: Mapping[str, Iterable[Any]] = {}, protected: Collection[Any] = ()) -> None:
        self._fixed = frozenset(fixed)
        self._values: dict[str, list[Any]] = defaultdict(list, {name: list(values) for name, values in fixed.items()})
        self._turn: dict[str, int] = defaultdict(int)
        self._protected = frozenset(protected)

    def __contains__(self, field: str) -> bool:
        return bool(self._values.get(_name(field)))

    def any(self, field: str, source: random.Random) -> Any:
        """Returns a value that this field may well take; to be asked only where there is one."""
        return source.choice(self._values[_name(field)])

    def any_text(self, source: random.Random) -> str:
        texts = [value for values in self._values.values() for value in values[:4] if isinstance(value, str)]
        return source.choice(texts) if texts else ""

    def add(self, field: str, value: Any) -> None:
        """Remembers a value, unless it is the honest ones'."""
        values = self._values[_name(field)]
        if not value or field in self._fixed or value in self._protected or value in values:
            return
        if len(values) < MAX_VALUES:
            values.append(value)
        else:
            values[self._turn[field] % MAX_VALUES] = value
            self._turn[field] += 1

    def learn(self, answer: Message) -> None:
        """Takes the ids and tokens of an answer, however deep they are; not those of what concerns the honest."""
        for field, value in answer.ListFields():
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            items = value[:8] if field.is_repeated else [value]
            if field.message_type is not None:
                for part in items:
                    if not self._concerns_the_honest(part):
                        self.learn(part)
            elif _is_id(field):
                for item in items:
                    self.add(field.name, item)

    def merge(self, other: Known) -> None:
        for field, values in other._values.items():
            for value in values:
                self.add(field, value)

    def _concerns_the_honest(self, part: Message) -> bool:
        """Returns whether it, or the one thing that it is about, is of a protected account."""
        for field, value in part.ListFields():
            if field.name == "account_id" and value in self._protected:
                return True
            if field.message_type is not None and not field.is_repeated and self._concerns_the_honest(value):
                return True
        return False


def _is_id(field: FieldDescriptor) -> bool:
    if field.type == FieldDescriptor.TYPE_STRING:
        return field.name.endswith(("_id", "_ids", "_leases", "_token"))
    return field.type == FieldDescriptor.TYPE_INT64 and field.name.endswith("_id")


def _name(field: str) -> str:
    return _TOKENS.get(field) or _LISTS.get(field) or field


MAX_BYTES = 4 * 1024 * 1024
"""Of a message, by gRPC's default."""
_INT32 = (0, 1, -1, 2, 3, 10, 50, 999, 1_000, 1_001, 2**15, 2**31 - 1, -(2**31))
_INT64 = (*_INT32, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -(2**63))
_UINT32 = (0, 1, 1_000, 2**31, 2**32 - 1)
_UINT64 = (*_UINT32, 2**63, 2**64 - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 5e-324, 1e38, 1e308, float("nan"), float("inf"), float("-inf"))
_SECONDS = (0, 1, -1, 60, 86_400, 2**31, 253_402_300_799, 253_402_300_800, 315_576_000_000, 2**63 - 1, -(2**63))
_NANOS = (0, 1, 999_999_999, 1_000_000_000, -1, 2**31 - 1, -(2**31))
_TEXTS = (
    "",
    " \t\r\n",
    "\0",
    "a\0b",
    "\x01\x1b[31m\x7f\x9b",
    "\u202e\u200foverride",  # runs from right to left
    "\u2028\u2029\ufeff\ufffe\uffff",
    "\U0010ffff",
    "e" + "\u0301" * 50,
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "人工智能的未来",
    "İıſK",  # case maps that change the length
    "--mode=async",
    "-",
    "../../../../etc/passwd",
    "/dev/zero",
    "$(reboot)`reboot`;reboot|reboot&",
    "'; DROP TABLE tasks; --",
    "%s%n%(x)s{0}{x.__class__}",
    "\\x00\\u0000\\",
    "null",
    "NaN",
    '{"a": [1, {"b": null}]}',
    "<script>alert(1)</script>",
    "task-0000000000000000",
    "task-ffffffffffffffff",
    "lease-0000000000000001-7fffffff",
    "lease-ffffffffffffffff-ffffffff",
    "W1tb" * 900,  # a token of nested brackets
    "a" * 200,
    "a" * 201,
    "人" * 2_001,
)
_LENGTHS = (63, 64, 255, 256, 1_000, 4_096, 65_536)
LIMITS = ("max_concurrent_tasks", "max_pending_tasks", "max_priority", "max_starts_per_minute", "max_asset_bytes")
"""The fields of an account that say how much it may do; 0 is no limit."""
ACCOUNT_PATHS = ("name", "weight", "active", *LIMITS)
TASK_PATHS = ("topic", "tone", "priority", "timeout", "schedule_time", "expire_time", "labels", "max_retries")

PLAUSIBLE: dict[str, Callable[[random.Random], Any]] = {
    "key": lambda source: f"key-{source.randrange(50)}",
    "google.protobuf.Timestamp.seconds": lambda source: source.choice((1_000_000_000, 4_000_000_000)),
    "seconds": lambda source: source.choice((1, 5, 60, 1_800)),
    "nanos": lambda source: source.choice((0, 500_000_000)),
    "topic": lambda source: f"topic {source.randrange(1_000)}",
    "name": lambda source: f"name {source.randrange(1_000)}",
    "hostname": lambda source: "a-host",
    "priority": lambda source: source.randint(1, 10),
    "max_retries": lambda source: source.randint(0, 3),
    "page_size": lambda source: source.choice((0, 1, 2, 50)),
    "limit": lambda source: source.randint(1, 20),
    "days": lambda source: source.randint(0, 9),
    "slots": lambda source: source.randint(0, 20),
    "free_slots": lambda source: source.randint(0, 5),
    "number": lambda source: source.randint(1, 9),
    "session_number": lambda source: source.randint(1, 2**31 - 1),
    "worker_id": lambda source: f"hostile-{source.randrange(30)}",
    "folder_id": lambda source: f"folder-{source.randrange(30)}",
    "request_id": lambda source: source.choice(("", f"request-{source.randrange(5_000)}")),
    "unique_key": lambda source: source.choice(("", f"unique-{source.randrange(50)}")),
    "attempt": lambda source: source.randint(1, 3),
    "max_concurrent_tasks": lambda source: source.choice((0, 1, 5)),
    "max_pending_tasks": lambda source: source.choice((0, 1, 1_000)),
    "max_priority": lambda source: source.choice((0, 1, 5, 10)),
    "max_starts_per_minute": lambda source: source.choice((0, 1, 600)),
    "max_asset_bytes": lambda source: source.choice((0, 1, 2**30)),
    "weight": lambda source: source.choice((0.5, 1.0, 8.0)),
    "paths": lambda source: source.choice(source.choice((ACCOUNT_PATHS, TASK_PATHS))),
    "service": lambda source: source.choice(("", "contentgen.v1.TaskService")),
    "file_containing_symbol": lambda source: "contentgen.v1.TaskService",
    "file_by_filename": lambda source: "contentgen/v1/task.proto",
}
"""By the name of the field, the full one first: a value that a caller who means well would give."""


def plausible(field: FieldDescriptor, known: Known, source: random.Random) -> Any:
    """Returns a value that the field's caller might mean: a live id, or something by its name or type."""
    if field.name.endswith("_token") and source.random() < 0.5:
        return ""
    if field.name in known and source.random() > 0.1:  # else it is made up all the same
        return known.any(field.name, source)
    for name in (field.full_name, field.name):
        if name in PLAUSIBLE:
            return PLAUSIBLE[name](source)
    if field.enum_type is not None:
        return source.choice(field.enum_type.values[1:]).number
    return source.choice(_ORDINARY[field.type])


_FIELD = FieldDescriptor
_ORDINARY: dict[int, tuple[Any, ...]] = {
    **dict.fromkeys(range(1, 19), (0, 1, 2, 3)),  # whole numbers of all encodings
    _FIELD.TYPE_STRING: ("", "a text", "另一段文字"),
    _FIELD.TYPE_BYTES: (b"", b"bytes"),
    _FIELD.TYPE_BOOL: (False, True),
    _FIELD.TYPE_DOUBLE: (0.0, 0.25, 1.5),
    _FIELD.TYPE_FLOAT: (0.0, 0.25, 1.5),
}


def hostile(field: FieldDescriptor, known: Known, source: random.Random) -> Any:
    """Returns a value at or beyond the bounds of what the field's type, or this field, can mean."""
    if field.type == _FIELD.TYPE_STRING:
        return text(known, source)
    if field.type == _FIELD.TYPE_BYTES:
        return source.randbytes(source.choice((0, 1, 16, 4_096)))
    if field.name in _BOUNDS_OF:
        return source.choice(_BOUNDS_OF[field.name])
    if field.cpp_type in _RANGES and source.random() < 0.1:
        return source.randint(*_RANGES[field.cpp_type])
    return source.choice(_BOUNDS[field.cpp_type])


_BOUNDS_OF = {"seconds": _SECONDS, "nanos": _NANOS}
_BOUNDS: dict[int, tuple[Any, ...]] = {
    _FIELD.CPPTYPE_INT32: _INT32,
    _FIELD.CPPTYPE_INT64: _INT64,
    _FIELD.CPPTYPE_UINT32: _UINT32,
    _FIELD.CPPTYPE_UINT64: _UINT64,
    _FIELD.CPPTYPE_DOUBLE: _FLOATS,
    _FIELD.CPPTYPE_FLOAT: tuple(value for value in _FLOATS if abs(value) != 1e308),
    _FIELD.CPPTYPE_BOOL: (False, True),
    _FIELD.CPPTYPE_ENUM: (0, -1, 7, 99, 2**31 - 1, -(2**31)),
}
_RANGES = {
    _FIELD.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _FIELD.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _FIELD.CPPTYPE_UINT32: (0, 2**32 - 1),
    _FIELD.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def text(known: Known, source: random.Random) -> str:
    """Returns a text that is hard to store, to show or to hand on; or a known one with a change."""
    chance = source.random()
    if chance < 0.6:
        return source.choice(_TEXTS)
    if chance < 0.8:
        return changed(known.any_text(source), source)
    if chance < 0.97:
        return "".join(chr(_code_point(source)) for _ in range(source.randrange(40)))
    return source.choice("a人\0👍") * source.choice(_LENGTHS)


def changed(sane: str, source: random.Random) -> str:
    """Returns the text with a character more, less or another one; or cut, or doubled."""
    position = source.randrange(len(sane) + 1)
    another = chr(_code_point(source))
    before, after = sane[:position], sane[position + 1 :]
    inserted, replaced = before + another + sane[position:], before + another + after
    return source.choice((before, sane + sane, inserted, replaced, before + after, sane.upper(), f" {sane}\n"))


def _code_point(source: random.Random) -> int:
    """Chooses one of any plane; surrogates are no characters, and protobuf takes none."""
    point = source.choice((source.randrange(0x80), source.randrange(0x3000), source.randrange(0x110000)))
    return 0x20 if 0xD800 <= point <= 0xDFFF else point
