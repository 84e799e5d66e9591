"""How far a backup or a restore is: one live line on a terminal, else a line now and then. Part of `backups`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TextIO

_EACH = 0.2
_EACH_WITHOUT_TERMINAL = 10.0
_STEPS = ("pg_restore: creating ", "pg_restore: processing data", "pg_restore: executing ")


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


class DumpProgress:
    """Follows `pg_dump`: how large its file is, and which table it reads."""

    def __init__(self, progress: Progress, file: Path) -> None:
        self._progress = progress
        self._file = file
        self._table = "the database"

    def said(self, line: str) -> None:
        if "dumping contents of table" in line:
            self._table = line.rpartition(" ")[2].strip('"')

    def tick(self) -> None:
        self._progress.show(f"{size(self._file.stat().st_size)} written, reading {self._table}")


class RestoreProgress:
    """Follows `pg_restore`: how many of so many steps are done, and which one it is at."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress = progress
        self._steps = steps
        self._done = 0
        self._step = "beginning"

    def said(self, line: str) -> None:
        if line.startswith(_STEPS):
            self._done += 1
            self._step = line.removeprefix("pg_restore: ")

    def tick(self) -> None:
        self._progress.show(f"{self._done} of {self._steps} steps done: {self._step}")


def size(n: int) -> str:
    """`1536` → `1.5 KiB`."""
    amount = float(n)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
