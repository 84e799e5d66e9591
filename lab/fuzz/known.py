"""What a run has learnt from answers: live ids and tokens, by the name of the field that takes them.

With them a case gets past NOT_FOUND. New RPCs need nothing here: an answer's fields are found by their names.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_VALUES = 64
"""Values that are kept of each field; a new one takes the place of an old one."""
_TOKENS = {"next_page_token": "page_token"}
_LISTS = {"task_ids": "task_id", "missing_task_ids": "task_id", "keep_leases": "lease_id", "lost_leases": "lease_id"}


class Known:
    """Values by field name. Those that are given stay; `protected` ones, of the honest, are never taken."""

    def __init__(self, given: Mapping[str, Iterable[Any]] = {}, protected: Collection[Any] = ()) -> None:
        self._given = frozenset(given)
        self._values: dict[str, list[Any]] = defaultdict(list, {name: list(values) for name, values in given.items()})
        self._turn: dict[str, int] = defaultdict(int)
        self._protected = frozenset(protected)

    def __contains__(self, field: str) -> bool:
        return bool(self._values.get(_name(field)))

    def any(self, field: str, source: random.Random) -> Any:
        """Returns a value that this field may well take; to be asked only where there is one."""
        return source.choice(self._values[_name(field)])

    def any_text(self, source: random.Random) -> str:
        """Returns some text of any field, or none."""
        texts = [value for values in self._values.values() for value in values[:4] if isinstance(value, str)]
        return source.choice(texts) if texts else ""

    def add(self, field: str, value: Any) -> None:
        """Remembers a value, unless it is the honest ones'."""
        values = self._values[_name(field)]
        if not value or field in self._given or value in self._protected or value in values:
            return
        if len(values) < MAX_VALUES:
            values.append(value)
        else:
            values[self._turn[field] % MAX_VALUES] = value
            self._turn[field] += 1

    def learn(self, answer: Message) -> None:
        """Takes the ids and tokens of an answer, however deep they are; not those of what concerns the honest."""
        for field, value in answer.ListFields():
            if _is_map(field):
                continue
            items = value[:_LEARNT_OF_A_LIST] if field.is_repeated else [value]
            if field.message_type is not None:
                for part in items:
                    if not self._concerns_the_honest(part):
                        self.learn(part)
            elif _is_id(field):
                for item in items:
                    self.add(field.name, item)

    def merge(self, other: Known) -> None:
        """Takes what another one has learnt."""
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


_LEARNT_OF_A_LIST = 8


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_id(field: FieldDescriptor) -> bool:
    if field.type == FieldDescriptor.TYPE_STRING:
        return field.name.endswith(("_id", "_ids", "_leases", "_token"))
    return field.type == FieldDescriptor.TYPE_INT64 and field.name.endswith("_id")


def _name(field: str) -> str:
    return _TOKENS.get(field) or _LISTS.get(field) or field
