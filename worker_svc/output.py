"""Reads what a CLI prints, all the time and within limits."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO, Protocol

MAX_LINE = 16 * 1024  # characters of one line; a longer one is cut

MAX_FILE = 64 * 1024 * 1024
"""Bytes that a CLI may print into a file, far more than any working CLI prints."""
FOLLOW_INTERVAL = 1.0  # seconds between two reads of such a file

_CHUNK = 64 * 1024


class Sink(Protocol):
    def add(self, chunk: bytes) -> None: ...

    def end(self) -> None: ...


class Tail:
    """The last `limit` bytes of a stream, or of several, one after another."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.seen = 0  # bytes of the stream so far

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes. Uses at most twice the limit and a chunk of memory."""
        self.seen += len(chunk)
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def end(self) -> None:
        """Records that a stream has ended; another may follow."""

    def bytes(self) -> bytes:
        return bytes(self._kept[-self._limit :])

    def since(self, position: int, limit: int) -> tuple[int, bytearray]:
        """Returns up to `limit` bytes from `position` on, or from the oldest that is kept, and where they begin."""
        oldest = self.seen - len(self._kept)
        start = max(position, oldest)
        return start, self._kept[start - oldest : start - oldest + limit]

    @property
    def truncated(self) -> bool:
        """Whether the beginning of the output is missing."""
        return self.seen > self._limit


class LineSplitter:
    """Calls `on_line` for each line of a stream as soon as it is complete."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""

    def add(self, chunk: bytes) -> None:
        *lines, rest = self._decoder.decode(chunk).split("\n")
        for line in lines:
            self._on_line((self._begun + line)[:MAX_LINE])
            self._begun = ""
        self._begun = (self._begun + rest)[:MAX_LINE]

    def end(self) -> None:
        """Ends the stream; passes on a last line without a newline."""
        if self._begun:
            self._on_line(self._begun)
            self._begun = ""


async def read_to_end(reader: asyncio.StreamReader, sinks: Sequence[Sink]) -> None:
    """Reads a stream to its end, so that no writer ever waits or loses output."""
    while chunk := await reader.read(_CHUNK):
        for sink in sinks:
            sink.add(chunk)
    for sink in sinks:
        sink.end()


class FileFollower:
    """Reads the file that takes a CLI's stdout, as it grows."""

    def __init__(self, file: BinaryIO, sinks: Sequence[Sink]) -> None:
        """`file` is open already, because the CLI might replace it."""
        self._file = file
        self._sinks = sinks
        self._read = 0
        self._no_more = asyncio.Event()

    @property
    def overflowed(self) -> bool:
        return self._read > MAX_FILE

    async def run(self) -> None:
        """Returns when all that was printed before `ended` is read, or the file is too large."""
        while not self._read_new():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._no_more.wait(), FOLLOW_INTERVAL)
        for sink in self._sinks:
            sink.end()

    def ended(self) -> None:
        self._no_more.set()

    def _read_new(self) -> bool:
        """Reads what is new. Returns whether that was the last."""
        last = self._no_more.is_set()
        while not self.overflowed and (chunk := self._file.read(_CHUNK)):
            self._read += len(chunk)
            for sink in self._sinks:
                sink.add(chunk)
        return last or self.overflowed
