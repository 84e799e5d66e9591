"""Reloads files of the settings when they change: tokens and certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from contentgen.service.files import CHECK_INTERVAL, ReloadedFiles
from scheduler_svc.runtime.loops import Periodic


class FileReload(Periodic):
    """Reloads a group of files when one of them has changed, or on `reload`."""

    def __init__(self, what: str, files: Sequence[Path], load: Callable[[], None]) -> None:
        """Takes what `ReloadedFiles` takes."""
        super().__init__(f"reread-{what}", self._check)
        self._files = ReloadedFiles(what, files, load)

    def reload(self) -> None:
        self._files.watched.expect_change()
        self.wake()

    async def _check(self) -> float:
        await asyncio.to_thread(self._files.reload_if_changed)
        return CHECK_INTERVAL
