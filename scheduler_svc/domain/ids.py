"""Public ids, and the integer keys of the database behind them.

A key is 43 bits of milliseconds since 1970 and 20 bits of a sequence. So keys grow with time, need no second index, and
stay unique even if a restored database's sequence starts again from an older value. The time is by the clock of the
replica that takes the submit: only the order of lists depends on how far these clocks are apart.

Deployments with different cells make different keys. Of the 20 bits the first is 0 in cell 0, and 19 are the sequence;
in any other cell it is 1, and 10 bits of the cell and 9 of the sequence follow. Numbers that the database draws begin
at the cell times 2 to the power of 43, and so stay below 2 to the power of 53, which JavaScript counts to.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SEQUENCE_BITS = 20
MAX_CELL = 1_023
FIRST_ID_BITS = 43
"""The number of a cell, shifted by so many bits, is below all ids that its database draws."""
_CELL_BITS = 10
_OTHER_CELL = 1 << SEQUENCE_BITS - 1
_OWN_BITS = SEQUENCE_BITS - 1 - _CELL_BITS
KEY_MAX = (1 << 63) - 1

_TASK_ID = re.compile(r"task-([0-9a-f]{16})\Z")
_LEASE_ID = re.compile(r"lease-([0-9a-f]{16})-([0-9a-f]{8})\Z")


def make_key(unix_milliseconds: int, sequence: int, cell: int = 0) -> int:
    """Returns a key; of `sequence` only the low 19 bits count, and in other cells than 0 only the low 9."""
    low = sequence & (_OTHER_CELL - 1)
    if cell:
        low = _OTHER_CELL | cell << _OWN_BITS | sequence & ((1 << _OWN_BITS) - 1)
    return (unix_milliseconds << SEQUENCE_BITS) | low


def make_past_key(unix_milliseconds: int, number: int) -> int:
    """Returns the key of something created elsewhere at that time.

    Many may share a millisecond, so all of `number` counts; a large one moves the time on. The key is one of cell 0.
    """
    later, low = divmod(number, _OTHER_CELL)
    return make_key(unix_milliseconds + later, low)


def format_task_id(key: int) -> str:
    return f"task-{key:016x}"


def parse_task_id(text: str) -> int | None:
    """Returns the key of a public task id, or None if the text can't be one."""
    match = _TASK_ID.match(text)
    key = int(match[1], 16) if match else -1
    return key if 0 < key <= KEY_MAX else None


class LeaseRef(NamedTuple):
    """One lease of a task. `fence` is random (31 bits), so no lease granted after a restore equals one from before."""

    task_key: int
    attempt: int
    fence: int

    @property
    def lease_id(self) -> str:
        """The public id; it does not hold the attempt."""
        return format_lease_id(self.task_key, self.fence)


def format_lease_id(task_key: int, fence: int) -> str:
    return f"lease-{task_key:016x}-{fence:08x}"


def parse_lease_id(text: str, attempt: int) -> LeaseRef | None:
    """Returns the lease of a public id and an attempt, or None if they can't name one."""
    match = _LEASE_ID.match(text)
    if not match or not 0 < attempt < 1 << 31:
        return None
    task_key, fence = int(match[1], 16), int(match[2], 16)
    return LeaseRef(task_key, attempt, fence) if task_key <= KEY_MAX and fence < 1 << 31 else None
