"""Notes Ctrl-C and similar signals, and acts on them where that is safe.

Layer: cli. A signal that raised wherever it struck could lose track of a process that was just being started.
"""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants the command to end."""


class Interrupts:
    """A context that counts SIGINT, SIGTERM and SIGHUP."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._former = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def check(self) -> None:
        """Raises Interrupted once a signal has come."""
        if self.count:
            raise Interrupted

    def pause(self, seconds: float) -> None:
        """Waits. Raises Interrupted if a signal came meanwhile."""
        time.sleep(seconds)
        self.check()
