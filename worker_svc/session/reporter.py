"""What a creator says of its run, made into updates: `processing` once, progress at most once a second.

Layer: inside session. It implements `creators.base.Reporter`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker_svc.session import wire
from worker_svc.session.leases import Lease, LeaseBook
from worker_svc.session.outbox import Update

PROGRESS_INTERVAL = 1.0
"""Seconds between two updates of one lease's progress; of those that come faster the last one wins."""


class LeaseReporter:
    """The reporter of one lease."""

    def __init__(self, lease: Lease, book: LeaseBook, add: Callable[[Update], None], now: Callable[[], float]) -> None:
        self._lease = lease
        self._book = book
        self._add = add
        self._now = now
        self._percent = 0
        self._told_at = float("-inf")
        self._untold: Update | None = None
        self._wanted = asyncio.Event()
        self._pauses = True

    def processing(self) -> None:
        """The CLI has started on the task."""
        if self._book.processing(self._lease):
            self._add(wire.processing(self._lease))

    def progress(self, percent: int | None, step: str, message: str) -> None:
        """How far it is; without a figure the last one stays."""
        self._percent = self._percent if percent is None else percent
        self._untold = wire.progress(self._lease, self._percent, step, message)
        self.flush(self._now())

    def flush(self, now: float) -> None:
        """Tells the last progress, once its time has come."""
        if self._untold is not None and now - self._told_at >= PROGRESS_INTERVAL:
            self._add(self._untold)
            self._untold, self._told_at = None, now

    async def pause(self, seconds: float) -> None:
        """Waits, or less when `ask_now` is called; not at all after `end_pauses`."""
        if self._pauses:
            self._wanted.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return

    def ask_now(self) -> None:
        """Ends the pause before the next question to the CLI."""
        self._wanted.set()

    def end_pauses(self) -> None:
        """The run is over: there is no time to wait for, the next question to the CLI shows it."""
        self._pauses = False
        self._wanted.set()
