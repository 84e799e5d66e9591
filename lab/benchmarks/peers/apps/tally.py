"""How workers of any kind say that they are ready, wait for the start, and count what they have handled.

Each process maps a file of its own into memory: a count costs no call of the system and no message.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import threading
import time
from pathlib import Path

_FORM = struct.Struct("<dq")
_POLL_S = 0.005
_GO = "go"
_SUFFIX = ".tally"


class Tally:
    """A worker's own. Its file is there once the worker is ready to begin."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}{_SUFFIX}"
        hidden = path.with_suffix(".new")
        hidden.write_bytes(_FORM.pack(0.0, 0))
        with hidden.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FORM.size)
        self._go = folder / _GO
        self._count = 0
        self._lock = threading.Lock()
        hidden.rename(path)

    def add(self) -> None:
        """One more task is being handled."""
        with self._lock:
            self._count += 1
            _FORM.pack_into(self._map, 0, time.monotonic(), self._count)

    def wait_for_go(self) -> None:
        """Returns once all may begin."""
        while not self._go.exists():
            time.sleep(_POLL_S)

    async def until_go(self) -> None:
        """The same, on an event loop."""
        while not self._go.exists():  # noqa: ASYNC110 - another process makes the file
            await asyncio.sleep(_POLL_S)


class Tallies:
    """All workers' of a folder, to be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: dict[Path, mmap.mmap] = {}

    def ready(self) -> int:
        """Returns how many workers are ready."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path not in self._maps:
                with path.open("rb") as file:
                    self._maps[path] = mmap.mmap(file.fileno(), _FORM.size, access=mmap.ACCESS_READ)
        return len(self._maps)

    def go(self) -> None:
        """Lets them begin."""
        (self._folder / _GO).touch()

    @property
    def handled(self) -> int:
        """Tasks, by all workers; one that was handled twice counts twice."""
        return sum(_FORM.unpack_from(tally)[1] for tally in self._maps.values())

    @property
    def last(self) -> float:
        """When the last of them came to its handler, by the machine's monotonic clock."""
        return max(float(_FORM.unpack_from(tally)[0]) for tally in self._maps.values())

    async def until(self, tasks: int, poll_s: float = _POLL_S) -> None:
        """Returns once so many were handled."""
        while self.handled < tasks:  # noqa: ASYNC110 - other processes count
            await asyncio.sleep(poll_s)
