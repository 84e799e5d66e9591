"""Updates that are not acknowledged yet: kept in order, put into reports, and sent again on the next stream.

Pure: an update's message is opaque here, apart from its kind and size.

A large report is sent in parts, so that heartbeats go in between (rule 22). One part is in flight at a time, and takes
a second or less, so nothing waits longer behind it, however slow the network is. Heartbeats wait behind it, and so do
gRPC's own pings: late heartbeats let leases expire, and a late ping ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, zip_longest
from math import inf
from typing import Any

from contentgen.v1 import worker_service_pb2 as pb

MAX_REPORT_BYTES = 3 * 1024 * 1024
"""Bytes of a report of several updates; gRPC's own limit is 4 MiB."""
MAX_REPORT_UPDATES = 1_000
MIN_LARGE_UPDATE = 256 * 1024
"""Bytes from which an update is sent alone, after a heartbeat: no heartbeat may wait behind a long write."""
MIN_SUSPECT_UPDATE = 16 * 1024  # bytes from which an update may be the reason why its stream ended
MAX_STREAM_ENDS = 3
"""Streams that may end while an update is in flight; then it is stuck, and is sent after pauses only."""
MIN_STUCK_PAUSE, MAX_STUCK_PAUSE = 30.0, 300.0
"""Seconds before a stuck update is sent again, and probably ends the stream. They double."""


class UpdateKind(IntEnum):
    ACCEPTED = 1
    PROCESSING = 2
    PROGRESS = 3
    COMPLETED = 4
    FAILED = 5
    RELEASED = 6
    DEFERRED = 7

    @property
    def ends(self) -> bool:
        return self >= UpdateKind.COMPLETED


_IMPLIED = {
    UpdateKind.COMPLETED: (UpdateKind.ACCEPTED, UpdateKind.PROCESSING, UpdateKind.PROGRESS),
    UpdateKind.FAILED: (UpdateKind.ACCEPTED, UpdateKind.PROGRESS),
    UpdateKind.RELEASED: (UpdateKind.ACCEPTED, UpdateKind.PROGRESS),
    UpdateKind.DEFERRED: (UpdateKind.ACCEPTED, UpdateKind.PROGRESS),
}


@dataclass(frozen=True, slots=True)
class PendingUpdate:
    lease_id: str
    attempt: int
    kind: UpdateKind
    size: int  # bytes that it takes in a report
    message: Any


_Key = tuple[str, UpdateKind]


class Outbox:
    """The updates that are not acknowledged: those to send, and those in flight.

    Most are sent together, in order. A large one is sent alone, and so is one that was in flight when a stream ended
    (rule 23): its report may be the reason.
    """

    def __init__(self) -> None:
        self._waiting: dict[_Key, PendingUpdate] = {}
        self._alone: dict[_Key, PendingUpdate] = {}
        self._sent: dict[int, Sequence[PendingUpdate]] = {}
        self._unanswered: list[PendingUpdate] = []
        self._ends: dict[_Key, int] = {}  # streams that ended while an update was in flight
        self._due: dict[_Key, float] = {}  # when a stuck update is sent again

    def __bool__(self) -> bool:
        """Returns whether there is anything to send, other than stuck updates."""
        return bool(self._waiting) or len(self._alone) > sum(key in self._due for key in self._alone)

    @property
    def reports_in_flight(self) -> int:
        return len(self._sent)

    @property
    def stuck(self) -> Sequence[PendingUpdate]:
        """The updates that get through on no stream, largest first."""
        if not self._due:
            return []
        updates = (update for update in chain(self._alone.values(), *self._sent.values()) if _key(update) in self._due)
        return sorted(updates, key=lambda update: -update.size)

    def stream_ends(self, update: PendingUpdate) -> int:
        """Returns how many streams have ended while the update was in flight."""
        return self._ends.get(_key(update), 0)

    def add(self, update: PendingUpdate) -> None:
        """Appends an update. It replaces those not sent that it makes needless: an older progress, and whatever the
        ending of its lease implies.
        """
        for kind in _IMPLIED.get(update.kind, ()):
            self._waiting.pop((update.lease_id, kind), None)
        goes_alone = update.size >= MIN_LARGE_UPDATE or _key(update) in self._ends
        (self._alone if goes_alone else self._waiting)[_key(update)] = update

    def take(self, report_number: int, max_bytes: int = MAX_REPORT_BYTES) -> Sequence[PendingUpdate]:
        """Takes what report `report_number` is to hold: all that waits and fits `max_bytes`."""
        updates: list[PendingUpdate] = []
        size = 0
        for update in self._waiting.values():
            if size + update.size <= max_bytes:
                updates.append(update)
                size += update.size
            if len(updates) == MAX_REPORT_UPDATES:
                break
        for update in updates:
            del self._waiting[_key(update)]
        if updates:
            self._sent[report_number] = updates
        return updates

    def next_alone(self, at: float) -> PendingUpdate | None:
        """Returns the next update to send alone, the one with the fewest stream ends. None if one is in flight, or
        none is due.
        """
        if any(self._goes_alone(updates) for updates in self._sent.values()):
            return None
        due = (update for key, update in self._alone.items() if self._due.get(key, at) <= at)
        return min(due, key=self.stream_ends, default=None)

    def alone_due_at(self) -> float:
        """Returns when the next stuck update is due."""
        return min((self._due[key] for key in self._alone if key in self._due), default=inf)

    def take_alone(self, report_number: int, update: PendingUpdate) -> Sequence[PendingUpdate]:
        """Takes an update that report `report_number` is to hold alone."""
        self._sent[report_number] = [self._alone.pop(_key(update))]
        return self._sent[report_number]

    def acknowledged(self, report_number: int, answers: Iterable[pb.UpdateResult]) -> list[tuple[PendingUpdate, int]]:
        """Returns the updates that were answered, each with its outcome. The others wait for the next stream."""
        outcomes = []
        for update, answer in zip_longest(self._sent.pop(report_number, ()), answers):
            if update is None:
                break
            if answer and answer.outcome and (answer.lease_id, answer.attempt) == (update.lease_id, update.attempt):
                outcomes.append((update, answer.outcome))
                self._ends.pop(_key(update), None)
                self._due.pop(_key(update), None)
            else:
                self._unanswered.append(update)
        return outcomes

    def stream_ended(self, at: float) -> list[PendingUpdate]:
        """Notes that a stream ended, perhaps because of an update in flight. Returns the updates that are stuck now."""
        stuck = []
        for update in chain.from_iterable(self._sent.values()):
            if update.size < MIN_SUSPECT_UPDATE:
                continue
            ends = self._ends[_key(update)] = self.stream_ends(update) + 1
            if ends >= MAX_STREAM_ENDS:
                self._due[_key(update)] = at + min(MIN_STUCK_PAUSE * 2 ** (ends - MAX_STREAM_ENDS), MAX_STUCK_PAUSE)
                stuck.append(update)
        return stuck

    def rewind(self) -> None:
        """Puts, for a new stream, what was sent and not acknowledged before the rest, in order."""
        updates = list(chain(self._unanswered, *self._sent.values(), self._waiting.values(), self._alone.values()))
        for queue in (self._unanswered, self._sent, self._waiting, self._alone):
            queue.clear()
        for update in updates:
            self.add(update)

    def withdraw(self, wanted: Callable[[PendingUpdate], bool]) -> list[PendingUpdate]:
        """Removes such updates from those to send, and returns them, in order."""
        updates = [update for update in chain(self._waiting.values(), self._alone.values()) if wanted(update)]
        for update in updates:
            self._waiting.pop(_key(update), None)
            self._alone.pop(_key(update), None)
        return updates

    def _goes_alone(self, updates: Sequence[PendingUpdate]) -> bool:
        return len(updates) == 1 and (updates[0].size >= MIN_LARGE_UPDATE or _key(updates[0]) in self._ends)


def _key(update: PendingUpdate) -> _Key:
    return update.lease_id, update.kind


# A report that is sent in parts, and how large the parts are.

MIN_PART, MAX_PART = 4 * 1024, 256 * 1024  # bytes of a part
FAST_LIMIT = 0.5
"""Seconds: if a part is received sooner, the next ones are twice as large. Less if heartbeats are frequent."""
SLOW_FACTOR = 3
"""If a part takes longer than this multiple of the fast limit, the next ones are half as large."""
FAST_SHARE = 0.25  # the fast limit is at most this share of the heartbeat interval


class ReportCutter:
    def __init__(self, heartbeat_interval: float) -> None:
        self._fast_limit = min(FAST_LIMIT, FAST_SHARE * heartbeat_interval)
        self.size = MIN_PART  # bytes of a part, adapted to the network
        self._report_number = 0
        self._left = memoryview(b"")
        self._sent_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a report has not been sent whole yet."""
        return bool(self._left)

    def begin(self, report_number: int, report: bytes) -> None:
        """Begins with a report. Not allowed while `busy`."""
        self._report_number, self._left, self._sent_at = report_number, memoryview(report), None

    def next(self, at: float) -> pb.ReportPart | None:
        """Returns the next part; None if the last one is not received yet, or all is sent."""
        if not self._left or self._sent_at is not None:
            return None
        data, self._left = bytes(self._left[: self.size]), self._left[self.size :]
        self._sent_at = at if self._left else None
        return pb.ReportPart(report_number=self._report_number, data=data, last=not self._left)

    def received(self, report_number: int, at: float) -> None:
        if self._sent_at is None or report_number != self._report_number:
            return
        duration, self._sent_at = at - self._sent_at, None
        if duration < self._fast_limit:
            self.size = min(2 * self.size, MAX_PART)
        elif duration > SLOW_FACTOR * self._fast_limit:
            self.size = max(self.size // 2, MIN_PART)
