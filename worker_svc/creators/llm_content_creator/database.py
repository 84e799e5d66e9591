"""What llm-content-creator stores: the SQLite database that a run leaves in its working folder.

Layer: inside this package; it reads one file, and blocks.
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
"""Bytes of one value that are taken into memory, to say how many they are."""
_STEPS = 100_000
"""Steps of SQLite between two looks at the clock: some milliseconds."""
_BUSY_LIMIT = 1.0
"""Seconds that a process of the run which still writes is waited for."""


class TooLargeError(Exception):
    """More is stored than any allowed result has; the text says how much."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The one run of a working folder."""

    task_id: str
    """The program's own id of it."""
    error: str
    """Why it failed; empty where nothing is said."""
    article: str | None
    """Markdown; None where none is stored."""
    images: Any
    """A list of objects with a `url`, not checked; None where there are none."""
    score: float | None
    """0 to 10; None where it is not stored, as version 0.2.0 never does (it says it on stdout)."""


def read(path: Path, limit: int) -> StoredRun:
    """What the database at `path` says of its run.

    Raises TooLargeError where more than `limit` bytes are stored, sqlite3.Error where it is no such database,
    ValueError or RecursionError where it is no file of the run's own, holds no run, or images that are no JSON.
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
        raise ValueError("it holds no run")
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
    """The CLI makes the file, and may have made a pipe of it, or a link to another run's."""
    if path.parent.is_symlink() or not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is no file of the run's own folder")


def _bound(database: sqlite3.Connection) -> None:
    """Tables may be views that have no end, or values without bounds."""
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
