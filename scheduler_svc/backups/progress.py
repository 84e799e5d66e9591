"""How far a backup or a restore is: one live line on a terminal, else a line now and then. Part of `backups`."""

from __future__ import annotations

import time
from typing import TextIO

_EACH = 0.2
_EACH_WITHOUT_TERMINAL = 10.0


class Progress:
    """Writes on `err`; `clear` before anything else is written there."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._terminal = err.isatty()
        self._shown = 0.0 if self._terminal else time.monotonic()

    def show(self, text: str) -> None:
        """Shows it, unless something was shown just before."""
        now = time.monotonic()
        if now - self._shown < (_EACH if self._terminal else _EACH_WITHOUT_TERMINAL):
            return
        self._shown = now
        self._err.write(f"\r\033[K{text}" if self._terminal else f"{text}\n")
        self._err.flush()

    def clear(self) -> None:
        if self._terminal:
            self._err.write("\r\033[K")
            self._err.flush()


def size(n: int) -> str:
    """`1536` → `1.5 KiB`."""
    amount = float(n)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
