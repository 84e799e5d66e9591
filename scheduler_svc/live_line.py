"""Progress of a long command: one live line on a terminal, else a line now and then. For the operator's commands."""

from __future__ import annotations

import time
from typing import TextIO

_INTERVAL = 0.2
_INTERVAL_WITHOUT_TERMINAL = 10.0


class LiveLine:
    """Writes to `err`. Call `clear` before anything else writes there."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._terminal = err.isatty()
        self.begin()

    def begin(self) -> None:
        """Starts a new item: a terminal shows it at once; elsewhere, short items are not shown."""
        self._shown = 0.0 if self._terminal else time.monotonic()

    def show(self, text: str, *, bar: str = "") -> None:
        """Shows the text, on a terminal after `bar`, unless it has just shown one."""
        now = time.monotonic()
        if now - self._shown < (_INTERVAL if self._terminal else _INTERVAL_WITHOUT_TERMINAL):
            return
        self._shown = now
        self._err.write(f"\r\033[K{bar}{text}" if self._terminal else f"{text}\n")
        self._err.flush()

    def clear(self) -> None:
        if self._terminal:
            self._err.write("\r\033[K")
            self._err.flush()
