"""What a creator says of its run, made into updates: `processing` once, progress at most once a second.

Layer: inside session. It implements `creators.base.Reporter`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from worker_svc.session import wire
from worker_svc.session.leases import Lease, LeaseBook
from worker_svc.session.outbox import PendingUpdate

PROGRESS_INTERVAL = 1.0
"""Seconds between two updates of one lease's progress; of those that come faster the last one wins."""


class LeaseReporter:
    """The reporter of one lease.

    Between two pauses a creator asks its CLI. So a pause that begins says that the question before it is answered, and
    what was wanted while that went on is asked with the next one.
    """

    def __init__(
        self,
        lease: Lease,
        book: LeaseBook,
        add: Callable[[PendingUpdate], None],
        answered: Callable[[int], None],
        now: Callable[[], float],
    ) -> None:
        """`answered` gets the number of the latest poll that the CLI has answered, once its updates are added."""
        self._lease = lease
        self._book = book
        self._add = add
        self._answered = answered
        self._now = now
        self._percent = 0
        self._sent_at = -inf
        self._unsent: PendingUpdate | None = None
        self._wanted = asyncio.Event()
        self._pauses = True
        self._has_paused = False
        self._next_question_at = -inf
        self._polled = self._polled_before_question = self._polled_and_answered = 0

    def processing(self) -> None:
        """The CLI has started on the task."""
        if self._book.processing(self._lease):
            self._add(wire.processing(self._lease))

    def progress(self, percent: int | None, step: str, message: str) -> None:
        """How far it is; without a figure the last one stays."""
        self._percent = self._percent if percent is None else percent
        self._unsent = wire.progress(self._lease, self._percent, step, message)
        self.flush(self._now())

    def flush(self, now: float) -> None:
        """Tells the last progress, once its time has come."""
        if now - self._sent_at >= PROGRESS_INTERVAL:
            self._send_progress(now)

    async def pause(self, seconds: float) -> None:
        """Waits, or less when `ask_now` is called; not at all after `end_pauses`.

        A question that someone wanted comes on top: the next one comes when it would have come without it.
        """
        self._has_paused = True
        self._question_is_answered()
        now = self._now()
        if not now < self._next_question_at < now + seconds:
            self._next_question_at = now + seconds
        try:
            async with asyncio.timeout(self._next_question_at - now):
                await self._wanted.wait()
        except TimeoutError:
            self._next_question_at = -inf
        self._polled_before_question = self._polled
        if self._pauses:
            self._wanted.clear()

    def poll_now(self, poll: int) -> bool:
        """Poll number `poll` ends the pause before the next question to the CLI.

        False where there is none: a CLI that was not asked yet, or is never asked, says by itself what there is to say.
        """
        if self._has_paused:
            self._polled = poll
            self._wanted.set()
        return self._has_paused

    def end_pauses(self) -> None:
        """The run is over: there is no time to wait for, the next question to the CLI shows it."""
        self._pauses = False
        self._wanted.set()

    def _question_is_answered(self) -> None:
        if self._polled_before_question > self._polled_and_answered:
            self._polled_and_answered = self._polled_before_question
            self._send_progress(self._now())
            self._answered(self._polled_and_answered)

    def _send_progress(self, now: float) -> None:
        if self._unsent is not None:
            self._add(self._unsent)
            self._unsent, self._sent_at = None, now
