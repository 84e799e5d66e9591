"""Files of the settings that are read again when they change: tokens and certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from scheduler_svc.config import SettingsError

INTERVAL = 2.0
"""Seconds between two looks."""

_log = structlog.get_logger(__name__)

Look = tuple[tuple[int, int, int] | None, ...]
"""Inode, time of change and size of each file; None where there is none."""


class Rereading:
    """What is made of some files, made anew when one of them has changed, or by order.

    Files that can't be used are logged once a change, and what was made before goes on.
    """

    def __init__(self, what: str, files: Sequence[Path], reread: Callable[[], None]) -> None:
        """`reread` raises SettingsError where the files can't be used.

        Make it before they are read for the first time: it notices each change after that.
        """
        self._what = what
        self._files = files
        self._reread = reread
        self._seen: Look | None = _look(files)

    async def run_once(self) -> float:
        """Looks at the files, and reads them where they have changed; returns the seconds until the next look."""
        await asyncio.to_thread(self._look_and_read)
        return INTERVAL

    def order(self) -> None:
        """They are read at the next look, changed or not."""
        self._seen = None

    def _look_and_read(self) -> None:
        now = _look(self._files)  # before they are read: what changes meanwhile is seen at the next look
        if now == self._seen:
            return
        self._seen = now
        try:
            self._reread()
        except SettingsError as error:
            _log.error(
                "changed files can't be used; what was read before goes on",
                action="reread",
                what=self._what,
                problems=list(error.problems),
            )
        else:
            _log.info("changed files were read", action="reread", what=self._what)


def _look(files: Sequence[Path]) -> Look:
    return tuple(_stat(path) for path in files)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
