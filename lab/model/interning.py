"""Parts of a model's state as small numbers, so that a whole state is a short tuple of integers.

A part is an object of the production code, or holds some. It is copied before it is changed, and found again by what is
in it; so a step of a part is computed once, however many whole states it occurs in.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
A = TypeVar("A")


def freeze(value: Any) -> Hashable:
    """Returns what is in `value`, hashable. Mappings keep their order, which the production code relies on."""
    if isinstance(value, (int, float, str, Enum, datetime, type(None))):
        return value
    if isinstance(value, dict):
        return tuple((freeze(key), freeze(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value))
    if isinstance(value, (list, tuple, deque)):
        return tuple(map(freeze, value))
    if is_dataclass(value):
        return tuple(freeze(getattr(value, field.name)) for field in fields(value))
    return tuple(freeze(item) for item in vars(value).values())


class RolledBack(Exception):
    """A change is given up: nothing of it counts."""


class Parts(Generic[T]):
    """All values that one kind of part has had, each under its number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._values: list[T] = []
        self._copies: list[bytes] = []
        self._steps: dict[Hashable, tuple[int, Any]] = {}

    def __getitem__(self, number: int) -> T:
        """Returns the value of that number; not to be changed."""
        return self._values[number]

    def __iter__(self) -> Iterator[T]:
        return iter(self._values)

    def number(self, value: T) -> int:
        """Returns the number of a value, which is not to be changed any more."""
        number = self._numbers.setdefault(freeze(value), len(self._values))
        if number == len(self._values):
            self._values.append(value)
            self._copies.append(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
        return number

    def copy(self, number: int) -> T:
        return cast(T, pickle.loads(self._copies[number]))  # noqa: S301 - our own, and much faster than a deep copy

    def step(self, number: int, name: Hashable, change: Callable[[T], A]) -> tuple[int, A]:
        """Returns the number after `change`, and what it returned; `name` stands for it, with all that it depends on.

        A change that is rolled back leaves the number as it was, and returns None.
        """
        if (number, name) not in self._steps:
            value = self.copy(number)
            try:
                answer = change(value)
                self._steps[number, name] = self.number(value), answer
            except RolledBack:
                self._steps[number, name] = number, None
        return self._steps[number, name]
