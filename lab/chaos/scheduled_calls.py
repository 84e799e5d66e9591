"""The calls about tasks that are due later, by time. Below `load`."""

from __future__ import annotations

import heapq
import threading
import time
from dataclasses import dataclass, field


@dataclass
class ScheduledCalls:
    """Cancels and retries of tasks that are due later."""

    _heap: list[tuple[float, str, str]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def add(self, at: float, task_id: str, what: str) -> None:
        """`at` by the monotonic clock."""
        with self._changed:
            heapq.heappush(self._heap, (at, task_id, what))
            self._changed.notify()

    def next(self) -> tuple[str, str] | None:
        """Waits for the next one; None once closed."""
        with self._changed:
            while not self._closed:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[1:]
                self._changed.wait(wait)
        return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
