"""Clocks of schedulers that can be set, by a file that says how far each is off. Beside `disks`.

Only the time of day is of that clock. What counts seconds is the machine's own, as where somebody sets the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_VARIABLE = "CHAOS_CLOCK"
_PATCH = f"""\
import os, time

_file = os.open(os.environ["{_VARIABLE}"], os.O_RDONLY)
_seconds, _nanoseconds = time.time, time.time_ns


def _off():
    return int(os.pread(_file, 99, 0))


time.time = lambda: _seconds() + _off()
time.time_ns = lambda: _nanoseconds() + _off() * 10**9
"""
"""What Python runs first in a process with such a clock."""


class Clock:
    """The clock of one process; right until it is set."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_PATCH)
        self._file = folder / name
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of the process."""
        return {"PYTHONPATH": str(self._file.parent), _VARIABLE: str(self._file)}

    def set(self, seconds: int) -> None:
        """Sets the clock that far ahead of the machine's, or behind it if negative."""
        with self._file.open("r+" if self._file.exists() else "w") as file:
            file.write(f"{seconds:+020d}")
