"""Reloads files of the settings when they change: tokens and certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from scheduler_svc.config import SettingsError
from scheduler_svc.loops.periodic import Periodic

CHECK_INTERVAL = 2.0

_log = structlog.get_logger(__name__)

_FileState = tuple[tuple[int, int, int] | None, ...]
"""Inode, time of change and size of each file; None if it is missing."""


class FileReload(Periodic):
    """Reloads a group of files when one of them has changed, or on `reload`.

    Files that can't be used are logged once a change, and what was loaded before stays in use.
    """

    def __init__(self, what: str, files: Sequence[Path], load: Callable[[], None]) -> None:
        """`load` raises SettingsError if the files can't be used.

        Create it before the first load: it notices each change from then on.
        """
        super().__init__(f"reread-{what}", self._check)
        self._what = what
        self._files = files
        self._load = load
        self._loaded: _FileState | None = _state(files)

    def reload(self) -> None:
        self._loaded = None
        self.wake()

    async def _check(self) -> float:
        await asyncio.to_thread(self._reload_if_changed)
        return CHECK_INTERVAL

    def _reload_if_changed(self) -> None:
        present = _state(self._files)  # before they are read: a change meanwhile is noticed by the next check
        if present == self._loaded:
            return
        self._loaded = present
        try:
            self._load()
        except SettingsError as error:
            _log.error(
                "changed files can't be used; what was loaded before stays in use",
                action="reread",
                what=self._what,
                problems=list(error.problems),
            )
        else:
            _log.info("changed files were loaded", action="reread", what=self._what)


def _state(files: Sequence[Path]) -> _FileState:
    return tuple(_stat(path) for path in files)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
