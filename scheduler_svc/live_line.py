"""How far a long command is: one live line on a terminal, else a line now and then. For `backups` and `importer`."""

from __future__ import annotations

import time
from typing import TextIO

_EACH = 0.2
_EACH_WITHOUT_TERMINAL = 10.0


class LiveLine:
    """Writes on `err`; `clear` before anything else is written there."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._terminal = err.isatty()
        self.begin()

    def begin(self) -> None:
        """Something new begins: a terminal shows it at once, else what is over soon says nothing."""
        self._shown = 0.0 if self._terminal else time.monotonic()

    def show(self, text: str, *, bar: str = "") -> None:
        """Shows it, on a terminal behind `bar`, unless something was shown just before."""
        now = time.monotonic()
        if now - self._shown < (_EACH if self._terminal else _EACH_WITHOUT_TERMINAL):
            return
        self._shown = now
        self._err.write(f"\r\033[K{bar}{text}" if self._terminal else f"{text}\n")
        self._err.flush()

    def clear(self) -> None:
        """Takes it away from a terminal."""
        if self._terminal:
            self._err.write("\r\033[K")
            self._err.flush()
