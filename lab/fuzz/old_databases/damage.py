"""What is wrong with the file of an old database, or with the path to it."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

Damage = Callable[[Path, random.Random], None]

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_UNREADABLE = Path("/proc/self/mem")
"""A regular file that nobody can read from its beginning, root no more than others."""


def cut(path: Path, source: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: source.randrange(len(data))])


def flipped(path: Path, source: random.Random) -> None:
    """Some bits of the pages; in one of four, of the header too."""
    data = bytearray(path.read_bytes())
    begin = source.choice((0, _HEADER, _HEADER, _HEADER))
    for _ in range(source.choice((1, 10, 100, 1_000))):
        data[source.randrange(begin, len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(data)


def pages_swapped(path: Path, source: random.Random) -> None:
    """Whole pages stand where others should: trees that lead into each other, or into themselves."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big") or 4_096
    size = 65_536 if size == 1 else size
    count = len(data) // size
    for _ in range(source.randint(1, 4)):
        target, source_page = source.randrange(1, count), source.randrange(1, count)
        data[target * size : (target + 1) * size] = data[source_page * size : (source_page + 1) * size]
    path.write_bytes(data)


def no_database(path: Path, source: random.Random) -> None:
    random_bytes = source.randbytes(source.choice((1, 99, 512, 5_000)))
    path.write_bytes(source.choice((b"", random_bytes, _MAGIC + random_bytes, _MAGIC, b"<!DOCTYPE html>\n" * 99)))


def a_directory(path: Path, source: random.Random) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path, source: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def nowhere(path: Path, source: random.Random) -> None:
    path.unlink()
    source.choice((lambda: None, lambda: path.symlink_to(path), lambda: path.symlink_to("/nowhere/at all")))()


def unreadable(path: Path, source: random.Random) -> None:
    path.unlink()
    path.symlink_to(_UNREADABLE)


def a_strange_log(path: Path, source: random.Random) -> None:
    """A write-ahead log, or a journal to roll back, that is none, beside the file."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {source.choice(('WAL', 'DELETE'))}")
    for suffix in source.choice((("-wal",), ("-journal",), ("-wal", "-shm"))):
        log = source.choice((b"", b"\x37\x7f\x06\x82", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")) + source.randbytes(40_000)
        path.with_name(path.name + suffix).write_bytes(log)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes, and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
