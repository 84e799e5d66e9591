"""Public ids: how the integer keys of the database look outside.

A key is 43 bits of milliseconds since 1970 and 20 bits of a sequence, so keys grow with time, need no second index,
and stay unique even when a database is restored from a backup and its sequence starts again from an older value.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SEQUENCE_BITS = 20
KEY_MAX = (1 << 63) - 1

_TASK_ID = re.compile(r"task-([0-9a-f]{16})\Z")
_LEASE_ID = re.compile(r"lease-([0-9a-f]{16})-([0-9a-f]{8})\Z")


def make_key(unix_milliseconds: int, sequence: int) -> int:
    """The key of the `sequence`th thing, made at that time; only the sequence's low 20 bits count."""
    return (unix_milliseconds << SEQUENCE_BITS) | (sequence & ((1 << SEQUENCE_BITS) - 1))


def make_past_key(unix_milliseconds: int, number: int) -> int:
    """The key of a thing that was made at that time elsewhere, and is numbered here.

    Any number of things may be of one millisecond, so the whole number counts, and moves the time on where it is large.
    """
    return (unix_milliseconds << SEQUENCE_BITS) + number


def format_task_id(key: int) -> str:
    """`task-` and 16 hex digits."""
    return f"task-{key:016x}"


def parse_task_id(text: str) -> int | None:
    """The key behind a public task id, or None where the text can't be the id of any task."""
    match = _TASK_ID.match(text)
    key = int(match[1], 16) if match else -1
    return key if 0 < key <= KEY_MAX else None


class LeaseRef(NamedTuple):
    """One grant of one task. `fence` is random (31 bits), so that no grant after a restore is an old one's twin."""

    task_key: int
    attempt: int
    fence: int

    @property
    def lease_id(self) -> str:
        """The public id; the attempt travels beside it."""
        return format_lease_id(self.task_key, self.fence)


def format_lease_id(task_key: int, fence: int) -> str:
    """`lease-`, the task's 16 hex digits, `-` and the fence's 8."""
    return f"lease-{task_key:016x}-{fence:08x}"


def parse_lease_id(text: str, attempt: int) -> LeaseRef | None:
    """The lease behind a public id and its attempt, or None where they can't name any lease."""
    match = _LEASE_ID.match(text)
    if not match or not 0 < attempt < 1 << 31:
        return None
    task_key, fence = int(match[1], 16), int(match[2], 16)
    return LeaseRef(task_key, attempt, fence) if task_key <= KEY_MAX and fence < 1 << 31 else None
