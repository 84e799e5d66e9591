"""Group commit as the scheduler does it: what arrives while a transaction runs is the next.

Part of `lab.simulation`. The groups are filled by the product's own queue, and it lingers by its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lab.simulation.clock import Clock, Process
from scheduler_svc.replica.replica import MAX_GROUP_WEIGHT
from scheduler_svc.runtime.calls import FairQueue
from scheduler_svc.runtime.group_committer import BUSY_GROUP, GROUP_SHARES

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """An item that waits for its transaction. `answered` gets whether it was committed."""

    item: T
    weight: int
    since: float
    answered: Callable[[bool], None]
    after_commit: Callable[[], Process[None]] | None = None


class GroupLane(Generic[T]):
    """One transaction at a time. `commit` runs one for these items and returns whether it was committed."""

    def __init__(self, clock: Clock, commit: Callable[[list[T]], Process[bool]], linger: float = 0.0) -> None:
        self._clock = clock
        self._commit = commit
        self._linger = linger
        self._queue: FairQueue[Entry[T]] = FairQueue(
            max_weight=MAX_GROUP_WEIGHT, share=max(1, MAX_GROUP_WEIGHT // GROUP_SHARES)
        )
        self._busy = False
        self.waiting = 0

    def put(self, entry: Entry[T], caller: str = "") -> None:
        self.waiting += 1
        self._queue.put(caller, entry)
        if not self._busy:
            self._busy = True
            self._clock.start(self._serve())

    def _serve(self) -> Process[None]:
        while True:
            group, _ = self._queue.take(0.0)
            if not group:
                self._busy = False
                return
            committed = yield from self._commit([entry.item for entry in group])
            self.waiting -= len(group)
            for entry in group:
                entry.answered(committed)
            for entry in group:
                if entry.after_commit:
                    yield from entry.after_commit()
            is_small = sum(entry.weight for entry in group) < MAX_GROUP_WEIGHT // 10
            if self._linger and len(group) >= BUSY_GROUP and is_small:
                yield self._clock.wait(self._linger)
