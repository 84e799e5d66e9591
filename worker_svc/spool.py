"""Results and errors that end a lease, kept on disk until the scheduler acknowledges them.

Layer: beside folder, above durable. It keeps bytes; the session knows what is in them.

One file a batch, `<number>.batch`: a header, then a record for each entry. A file appears whole (written under another
name, synced, renamed, its folder synced) and goes once all its entries are forgotten. Recovery reads what can be read
and sets a damaged file aside in `unreadable/`, for people.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from worker_svc.durable import GroupWriter, replace_file

_HEADER = b"contentgen spool 1\n"
_RECORD = struct.Struct(">III")  # bytes of the key, bytes of the payload, CRC-32 of both
_SUFFIX = ".batch"
_MAX_RECORD = 16 * 1024 * 1024
_MAX_BATCH = 16 * 1024 * 1024
_MAX_FILE_SIZE = 2 * _MAX_BATCH
"""Bytes of a file with all that is beside the payloads: far above what was ever written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One lease's end, as the session encodes it."""

    lease_id: str
    payload: bytes


@dataclass(slots=True)
class _File:
    path: Path
    remaining: set[str] = field(default_factory=set)


class Spool:
    """The spool in `folder`. All calls are made on one event loop; the disk is touched in `executor`."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self._folder = folder
        self._executor = executor
        self._writer: GroupWriter[Entry] = GroupWriter(self._write, executor)
        self._files: dict[str, _File] = {}
        self._numbers: Iterator[int] = count(max(map(_number, _files(folder)), default=0) + 1)

    @property
    def lease_ids(self) -> list[str]:
        """The lease of each entry on disk, oldest first."""
        return list(self._files)

    def recover(self, say: Callable[[str], None]) -> list[Entry]:
        """What a former process kept, oldest first; blocking, once, before all else. `say` names what is unreadable."""
        entries: dict[str, Entry] = {}
        for leftover in self._folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        for path in _files(self._folder):
            for entry in self._read(path, say):
                entries[entry.lease_id] = entry
        return list(entries.values())

    async def keep(self, entry: Entry) -> None:
        """Returns once `entry` is durable. Raises OSError where the disk refuses it (full, read-only, broken)."""
        await self._writer.put(entry)

    def forget(self, lease_id: str) -> None:
        """The entry is acknowledged; its file goes with the last one in it."""
        file = self._files.pop(lease_id, None)
        if file is None:
            return
        file.remaining.discard(lease_id)
        if not file.remaining:
            # Not synced: an entry that comes back is sent again, and answered as committed before.
            with contextlib.suppress(OSError):
                file.path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Returns when no write is under way."""
        await self._writer.close()

    def _write(self, entries: Sequence[Entry]) -> None:
        for group in _cut(entries):
            self._write_file(group)

    def _write_file(self, entries: Sequence[Entry]) -> None:
        path = self._folder / f"{next(self._numbers)}{_SUFFIX}"
        replace_file(path, _HEADER + b"".join(map(_encode, entries)))
        self._own(_File(path), entries)

    def _own(self, file: _File, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.forget(entry.lease_id)  # an older copy: part of a batch that failed as a whole, or was rescued
        file.remaining.update(entry.lease_id for entry in entries)
        self._files.update((entry.lease_id, file) for entry in entries)

    def _read(self, path: Path, say: Callable[[str], None]) -> list[Entry]:
        try:
            entries, fault = _decode(_bytes(path))
        except OSError as error:
            entries, fault = [], str(error)
        if fault is None:
            self._own(_File(path), entries)
            return entries
        say(f"{path} cannot be read ({fault}): {len(entries)} results of it are kept, and it is set aside")
        self._rescue(path, entries, say)
        return entries

    def _rescue(self, path: Path, entries: Sequence[Entry], say: Callable[[str], None]) -> None:
        """Writes the readable entries anew, then moves the damaged file away. What fails leaves the file in place."""
        try:
            if entries:
                self._write_file(entries)
            aside = self._folder / "unreadable"
            aside.mkdir(exist_ok=True, mode=0o700)
            path.rename(aside / path.name)
        except OSError as error:
            say(f"{path} cannot be set aside ({error})")


def _bytes(path: Path) -> bytes:
    """What a file of the spool holds. Raises OSError, also where it is none of ours: a link, a pipe, without end."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_FILE_SIZE:
            raise OSError(f"it is no file of {_MAX_FILE_SIZE:,} bytes at most")
        return file.read(_MAX_FILE_SIZE)


def _files(folder: Path) -> list[Path]:
    """The spool's files, oldest first."""
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
    """The entries up to the first fault, and that fault."""
    if not data.startswith(_HEADER):
        return [], "it does not begin as a spool file"
    entries: list[Entry] = []
    at = len(_HEADER)
    while at < len(data):
        entry = _decode_one(data, at)
        if isinstance(entry, str):
            return entries, entry
        entries.append(entry)
        at += _RECORD.size + len(entry.lease_id.encode()) + len(entry.payload)
    return entries, None


def _decode_one(data: bytes, at: int) -> Entry | str:
    if at + _RECORD.size > len(data):
        return f"it ends within a record at byte {at}"
    key_size, size, checksum = _RECORD.unpack_from(data, at)
    begin = at + _RECORD.size
    if key_size + size > _MAX_RECORD or begin + key_size + size > len(data):
        return f"it ends within a record at byte {at}"
    key, payload = data[begin : begin + key_size], data[begin + key_size : begin + key_size + size]
    if zlib.crc32(payload, zlib.crc32(key)) != checksum:
        return f"the record at byte {at} is damaged"
    return Entry(key.decode("utf-8", "replace"), payload)
