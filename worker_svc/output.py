"""What a CLI prints, read all the time and kept within bounds.

Layer: below runner, beside guard.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

MAX_LINE = 16 * 1024
"""Characters of one line; the rest of a longer one is left out."""

MAX_FILE = 64 * 1024 * 1024
"""Bytes that a CLI may print into a file: far above what any prints that works."""
FOLLOW_INTERVAL = 1.0
"""Seconds between two looks at such a file."""

_CHUNK = 64 * 1024


class Tail:
    """The last `limit` bytes of a stream."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.seen = 0
        """Bytes that came in all."""

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes; memory stays below twice the limit and a chunk."""
        self.seen += len(chunk)
        self._kept += chunk
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def bytes(self) -> bytes:
        """What is kept."""
        return bytes(self._kept[-self._limit :])

    @property
    def truncated(self) -> bool:
        """Whether the beginning is missing."""
        return self.seen > self._limit


class LineSplitter:
    """Calls `on_line` for each line of a stream as soon as it is whole; the last one may lack its newline."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        *whole, rest = self._decoder.decode(chunk).split("\n")
        for line in whole:
            self._on_line((self._begun + line)[:MAX_LINE])
            self._begun = ""
        self._begun = (self._begun + rest)[:MAX_LINE]

    def end(self) -> None:
        """No more bytes come."""
        if self._begun:
            self._on_line(self._begun)
            self._begun = ""


async def read_to_end(reader: asyncio.StreamReader, tail: Tail, lines: LineSplitter | None) -> None:
    """Reads until the end, whoever holds the other end, so that no writer ever waits or loses output."""
    while chunk := await reader.read(_CHUNK):
        tail.add(chunk)
        if lines is not None:
            lines.add(chunk)
    if lines is not None:
        lines.end()


class FileFollower:
    """A CLI's stdout that is a file, read as it grows."""

    def __init__(self, file: BinaryIO, tail: Tail, lines: LineSplitter | None) -> None:
        """`file` is open for reading: by its name it might be another one by now."""
        self._file = file
        self._tail = tail
        self._lines = lines
        self._no_more = asyncio.Event()

    @property
    def overflowed(self) -> bool:
        """Whether more was printed than a file may hold."""
        return self._tail.seen > MAX_FILE

    async def run(self) -> None:
        """Returns when all is read that was printed before `ended`, or at once when the file has grown too large."""
        while not self._read_new(self._file):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._no_more.wait(), FOLLOW_INTERVAL)
        if self._lines is not None:
            self._lines.end()

    def ended(self) -> None:
        """The CLI has ended and prints no more."""
        self._no_more.set()

    def _read_new(self, file: BinaryIO) -> bool:
        """Reads what is new; whether that was the last of it."""
        last = self._no_more.is_set()
        while not self.overflowed and (chunk := file.read(_CHUNK)):
            self._tail.add(chunk)
            if self._lines is not None:
                self._lines.add(chunk)
        return last or self.overflowed
