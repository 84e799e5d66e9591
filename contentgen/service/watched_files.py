"""Files that are read again when they change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

CHECK_INTERVAL = 2.0
"""Seconds between two looks at them."""

_Stamps = tuple[tuple[int, int, int] | None, ...]
"""Inode, time of change and size of each file; None if it is missing."""


class WatchedFiles:
    """Create it before the first read: it notices each change from then on."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = tuple(files)
        self._seen: _Stamps | None = self._stamps()

    def __bool__(self) -> bool:
        return bool(self._files)

    def changed(self) -> bool:
        """Returns whether a file has changed since the last call. Call it before reading them, to miss no change."""
        stamps = self._stamps()
        changed, self._seen = stamps != self._seen, stamps
        return changed

    def expect_change(self) -> None:
        """Has the next call of `changed` return True, in any case."""
        self._seen = None

    def _stamps(self) -> _Stamps:
        return tuple(map(_stat, self._files))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
