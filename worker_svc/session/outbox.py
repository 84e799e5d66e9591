"""Updates on their way: in order, sent again until they are acknowledged, cut into reports.

Layer: pure, inside session. What an update says is opaque here, apart from its kind and size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, zip_longest
from typing import Any

MAX_REPORT_BYTES = 3 * 1024 * 1024
"""Bytes of a report of several updates: gRPC's own bound is 4 MiB."""
MAX_REPORT_UPDATES = 1_000
LARGE = 256 * 1024
"""Bytes from which an update goes alone, with a state ahead of it: a heartbeat must not wait behind a long write."""


class Kind(IntEnum):
    """What an update is, as far as it matters for what may be left out."""

    ACCEPTED = 1
    PROCESSING = 2
    PROGRESS = 3
    COMPLETED = 4
    FAILED = 5
    RELEASED = 6
    DEFERRED = 7

    @property
    def ends(self) -> bool:
        """Whether it ends its lease."""
        return self >= Kind.COMPLETED


_IMPLIED = {
    Kind.COMPLETED: (Kind.ACCEPTED, Kind.PROCESSING, Kind.PROGRESS),
    Kind.FAILED: (Kind.ACCEPTED, Kind.PROGRESS),
    Kind.RELEASED: (Kind.ACCEPTED, Kind.PROGRESS),
    Kind.DEFERRED: (Kind.ACCEPTED, Kind.PROGRESS),
}


@dataclass(frozen=True, slots=True)
class Update:
    """One update of one lease."""

    lease_id: str
    attempt: int
    kind: Kind
    size: int
    """Bytes that it takes in a report."""
    message: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What the scheduler said to one update; `outcome` is the contract's number."""

    lease_id: str
    attempt: int
    outcome: int


class Outbox:
    """The updates that are not acknowledged: those to send, and those in reports under way."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, Kind], Update] = {}
        self._sent: dict[int, Sequence[Update]] = {}
        self._unanswered: list[Update] = []

    def __bool__(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._waiting)

    @property
    def under_way(self) -> int:
        """Reports that are sent and not acknowledged."""
        return len(self._sent)

    @property
    def begins_large(self) -> bool:
        """Whether the next report is one large update."""
        return bool(self._waiting) and next(iter(self._waiting.values())).size >= LARGE

    def add(self, update: Update) -> None:
        """Puts an update behind the others. It replaces what it makes needless and was not sent: an older progress,
        and whatever its lease's ending implies.
        """
        for kind in _IMPLIED.get(update.kind, ()):
            self._waiting.pop((update.lease_id, kind), None)
        self._waiting[update.lease_id, update.kind] = update

    def take(self, report_number: int) -> Sequence[Update]:
        """What report `report_number` holds: all that waits, or as much as one report may; a large update alone."""
        taken: list[Update] = []
        size = 0
        for update in self._waiting.values():
            if taken and (update.size >= LARGE or size + update.size > MAX_REPORT_BYTES):
                break
            taken.append(update)
            size += update.size
            if update.size >= LARGE or len(taken) == MAX_REPORT_UPDATES:
                break
        for update in taken:
            del self._waiting[update.lease_id, update.kind]
        self._sent[report_number] = taken
        return taken

    def acknowledged(self, report_number: int, answers: Iterable[Answer]) -> list[tuple[Update, int]]:
        """The updates of a report that were answered, each with its outcome. One without waits for the next stream."""
        settled = []
        for update, answer in zip_longest(self._sent.pop(report_number, ()), answers):
            if update is None:
                break
            if answer is not None and answer.outcome and _matches(update, answer):
                settled.append((update, answer.outcome))
            else:
                self._unanswered.append(update)
        return settled

    def rewind(self) -> None:
        """A new stream: what was sent and not acknowledged is to be sent again, ahead of the rest, in order."""
        again = list(chain(self._unanswered, *self._sent.values(), self._waiting.values()))
        for kept in (self._unanswered, self._sent, self._waiting):
            kept.clear()
        for update in again:
            self.add(update)


def _matches(update: Update, answer: Answer) -> bool:
    return (update.lease_id, update.attempt) == (answer.lease_id, answer.attempt)
