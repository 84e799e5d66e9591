"""Reads the SQLite database that a run of llm-content-creator leaves in its working folder.

Layer: inside this package. It blocks.
"""

from __future__ import annotations

import json
import sqlite3
import stat
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_READ_LIMIT = 20.0
"""Seconds that reading may take in all."""
_LARGEST_VALUE = 64 * 1024 * 1024
"""Bytes of one value, at most, that are read into memory."""
_STEPS = 100_000
"""SQLite's steps between two checks of the clock: some milliseconds."""
_BUSY_LIMIT = 1.0
"""Seconds to wait for a process of the run that still writes."""


class TooLargeError(Exception):
    """More is stored than any allowed result has; the text says how much."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    task_id: str
    """The program's own id."""
    error: str
    """Why it failed; empty if unknown."""
    article: str | None
    """Markdown; None if not stored."""
    images: Any
    """A list of objects with a `url`, not checked; None if not stored."""
    score: float | None
    """0 to 10; None if not stored: version 0.2.0 only prints it."""


def read(path: Path, limit: int) -> StoredRun:
    """Returns the run in the database at `path`.

    Raises TooLargeError if more than `limit` bytes are stored, sqlite3.Error if it is not such a database, ValueError
    or RecursionError if it is not a file of this run, has no run, or has images that are not JSON.
    """
    _check_own(path)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_LIMIT)) as database:
        _bound(database)
        try:
            return _run(database, limit)
        except sqlite3.DataError as error:
            raise TooLargeError(f"the CLI stored more than {_LARGEST_VALUE} bytes as one value: {error}") from None


def _run(database: sqlite3.Connection, limit: int) -> StoredRun:
    _check_size(database, limit)
    run = database.execute("SELECT id, error_message FROM tasks ORDER BY created_at DESC LIMIT 1").fetchone()
    if run is None:
        raise ValueError("it has no run")
    task_id, error = run
    images = _latest(database, task_id, "image")
    return StoredRun(
        task_id=str(task_id),
        error=str(error or ""),
        article=_latest(database, task_id, "article"),
        images=None if images is None else json.loads(images),
        score=_score(database, task_id),
    )


def _check_own(path: Path) -> None:
    """The CLI made the file, and might have made a pipe, or a link to another run's file."""
    if path.parent.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is not a file in the run's own folder")


def _bound(database: sqlite3.Connection) -> None:
    """Limits time and memory: a table might be an endless view, or have huge values."""
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    give_up_at = time.monotonic() + _READ_LIMIT
    database.set_progress_handler(lambda: time.monotonic() > give_up_at, _STEPS)


def _check_size(database: sqlite3.Connection, limit: int) -> None:
    (size,) = database.execute("SELECT coalesce(sum(length(CAST(content AS BLOB))), 0) FROM results").fetchone()
    if size > limit:
        raise TooLargeError(f"the CLI stored {size} bytes of results; {limit} can be taken")


def _latest(database: sqlite3.Connection, task_id: str, kind: str) -> str | None:
    statement = "SELECT content FROM results WHERE task_id = ? AND result_type = ? ORDER BY created_at DESC LIMIT 1"
    row = database.execute(statement, (task_id, kind)).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def _score(database: sqlite3.Connection, task_id: str) -> float | None:
    statement = (
        "SELECT score FROM quality_checks WHERE task_id = ? AND check_type = 'text' ORDER BY created_at DESC LIMIT 1"
    )
    row = database.execute(statement, (task_id,)).fetchone()
    return None if row is None or row[0] is None else float(row[0])
