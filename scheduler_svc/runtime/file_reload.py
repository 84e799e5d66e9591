"""Reloads files of the settings when they change: tokens and certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from contentgen.service.files import CHECK_INTERVAL, WatchedFiles
from contentgen.service.settings import SettingsError
from scheduler_svc.runtime.loops import Periodic

_log = structlog.get_logger(__name__)


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
        self._files = WatchedFiles(files)
        self._load = load

    def reload(self) -> None:
        self._files.expect_change()
        self.wake()

    async def _check(self) -> float:
        await asyncio.to_thread(self._reload_if_changed)
        return CHECK_INTERVAL

    def _reload_if_changed(self) -> None:
        if not self._files.changed():
            return
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
