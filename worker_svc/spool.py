"""Keeps the results of leases on disk until the scheduler acknowledges them.

The session encodes the results.

One file a batch, `<number>.batch`: a header, then a record for each entry. A file appears atomically (written under
another name, synced, renamed, its folder synced) and is removed once all its entries are acknowledged. Recovery reads
what it can of a damaged file, and moves the file to `unreadable/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from contentgen.service.durable import replace_file
from worker_svc.group_writer import GroupWriter

_HEADER = b"contentgen spool 1\n"
_RECORD = struct.Struct(">III")  # bytes of the key, bytes of the payload, CRC-32 of both
_SUFFIX = ".batch"
_MAX_RECORD = 16 * 1024 * 1024
_MAX_BATCH = 16 * 1024 * 1024
_MAX_FILE_SIZE = 2 * _MAX_BATCH
"""Bytes of a file, with ample space for what a batch holds beside its payloads."""
_PROBE_SIZE = 1 << 20  # bytes: larger than nearly all results


@dataclass(frozen=True, slots=True)
class Entry:
    lease_id: str
    payload: bytes


@dataclass(slots=True)
class _File:
    path: Path
    written_at: float
    remaining: set[str] = field(default_factory=set)


class Spool:
    """The spool in `folder`. Call it on one event loop; it writes in `executor`."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self._folder = folder
        self._executor = executor
        self.writer: GroupWriter[Entry] = GroupWriter(self._write, executor)
        self._files: dict[str, _File] = {}
        self._numbers: Iterator[int] = count(max(map(_number, _files(folder)), default=0) + 1)

    @property
    def lease_ids(self) -> list[str]:
        """The lease of each entry on disk, oldest first."""
        return list(self._files)

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest entry was written; 0: there is none."""
        now = time.time()
        return max((now - file.written_at for file in list(self._files.values())), default=0.0)

    def recover(self, report: Callable[[str], None]) -> list[Entry]:
        """Returns what an earlier process left, oldest first. Blocks; call it once, first. `report` gets the faults."""
        entries: dict[str, Entry] = {}
        for leftover in self._folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        for path in _files(self._folder):
            for entry in self._read(path, report):
                entries[entry.lease_id] = entry
        return list(entries.values())

    async def keep(self, entry: Entry) -> None:
        """Returns once `entry` is durable. Raises OSError."""
        await self.writer.put(entry)

    async def probe(self) -> None:
        """Returns once a file as large as results are could be written; it is gone then. Raises OSError.

        An empty file tells nothing: a full disk takes those.
        """
        await asyncio.get_running_loop().run_in_executor(self._executor, self._write_probe)

    def _write_probe(self) -> None:
        path = self._folder / "probe.tmp"  # swept by `recover`
        replace_file(path, bytes(_PROBE_SIZE))
        path.unlink()

    def forget(self, lease_id: str) -> None:
        """Removes an acknowledged entry, and its file with the last entry in it."""
        file = self._files.pop(lease_id, None)
        if file is None:
            return
        file.remaining.discard(lease_id)
        if not file.remaining:
            # Not synced: an entry that reappears is sent again, and answered as already committed.
            with contextlib.suppress(OSError):
                file.path.unlink(missing_ok=True)

    def _write(self, entries: Sequence[Entry]) -> None:
        for group in _cut(entries):
            self._write_file(group)

    def _write_file(self, entries: Sequence[Entry]) -> None:
        path = self._folder / f"{next(self._numbers)}{_SUFFIX}"
        replace_file(path, _HEADER + b"".join(map(_encode, entries)))
        self._own(_File(path, time.time()), entries)

    def _own(self, file: _File, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.forget(entry.lease_id)  # an older copy, from a batch that failed or was rescued
        file.remaining.update(entry.lease_id for entry in entries)
        self._files.update((entry.lease_id, file) for entry in entries)

    def _read(self, path: Path, report: Callable[[str], None]) -> list[Entry]:
        try:
            entries, fault = _decode(_bytes(path))
        except OSError as error:
            entries, fault = [], str(error)
        if fault is None:
            self._own(_File(path, path.stat().st_mtime), entries)
            return entries
        report(f"{path} cannot be read ({fault}): {len(entries)} results of it are kept, and it is set aside")
        self._rescue(path, entries, report)
        return entries

    def _rescue(self, path: Path, entries: Sequence[Entry], report: Callable[[str], None]) -> None:
        """Writes the readable entries again, then moves the damaged file away. On an error the file stays."""
        try:
            if entries:
                self._write_file(entries)
            aside = self._folder / "unreadable"
            aside.mkdir(exist_ok=True, mode=0o700)
            path.rename(aside / path.name)
        except OSError as error:
            report(f"{path} cannot be set aside ({error})")


def _bytes(path: Path) -> bytes:
    """Returns a file's bytes. Raises OSError, also for a link, a pipe, or a file that is too large."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_SIZE:
            raise OSError(f"it is not a file of {_MAX_FILE_SIZE:,} bytes at most")
        return file.read(_MAX_FILE_SIZE)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"), key=_number)


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0


def _cut(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    begin, total = 0, 0
    for index, entry in enumerate(entries):
        if total and total + len(entry.payload) > _MAX_BATCH:
            yield entries[begin:index]
            begin, total = index, 0
        total += len(entry.payload)
    yield entries[begin:]


def _encode(entry: Entry) -> bytes:
    key = entry.lease_id.encode()
    return _RECORD.pack(len(key), len(entry.payload), zlib.crc32(entry.payload, zlib.crc32(key))) + key + entry.payload


def _decode(data: bytes) -> tuple[list[Entry], str | None]:
    """Returns what can be read, and why the rest cannot; None: all can."""
    if not data.startswith(_HEADER):
        return [], "it does not begin like a spool file"
    entries: list[Entry] = []
    offset = len(_HEADER)
    while offset < len(data):
        cut_off = f"it ends within a record at byte {offset}"
        begin = offset + _RECORD.size
        if begin > len(data):
            return entries, cut_off
        key_size, size, checksum = _RECORD.unpack_from(data, offset)
        middle, end = begin + key_size, begin + key_size + size
        if end - begin > _MAX_RECORD or end > len(data):
            return entries, cut_off
        key, payload = data[begin:middle], data[middle:end]
        if zlib.crc32(payload, zlib.crc32(key)) != checksum:
            return entries, f"the record at byte {offset} is damaged"
        entries.append(Entry(key.decode("utf-8", "replace"), payload))
        offset = end
    return entries, None
