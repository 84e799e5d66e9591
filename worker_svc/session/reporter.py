"""Turns creators' reports into updates: `processing` once, progress at most once a second; answers polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf

from worker_svc.guard import now
from worker_svc.session import wire
from worker_svc.session.leases import Lease, LeaseBook, OpenPolls
from worker_svc.session.outbox import PendingUpdate

PROGRESS_INTERVAL = 1.0
"""Seconds between two progress updates of a lease; of several in between the last one counts."""


class LeaseReporter:
    """The reporter of one lease; implements `creators.base.RunReporter`.

    A creator asks its CLI between two pauses. So when a pause begins, the call before it has been answered, and a poll
    that arrived during that call is answered by the next one.
    """

    def __init__(
        self,
        lease: Lease,
        book: LeaseBook,
        add: Callable[[PendingUpdate], None],
        answered: Callable[[int], None],
        now: Callable[[], float],
    ) -> None:
        """`answered` gets the number of the last poll that the CLI has answered, after its updates are added."""
        self._lease = lease
        self._book = book
        self._add = add
        self._answered = answered
        self._now = now
        self._percent = 0
        self._sent_at = -inf
        self._unsent: PendingUpdate | None = None
        self._wake = asyncio.Event()
        self._pauses = True
        self._has_paused = False
        self._next_call_at = -inf
        self._polled = self._polled_before_call = self._polled_and_answered = 0

    def processing(self) -> None:
        if self._book.processing(self._lease):
            self._add(wire.processing(self._lease))

    def progress(self, percent: int | None, step: str, message: str) -> None:
        """Reports progress; if `percent` is None, the last figure stays."""
        self._percent = self._percent if percent is None else percent
        self._unsent = wire.progress(self._lease, self._percent, step, message)
        self.flush(self._now())

    def flush(self, now: float) -> None:
        if now - self._sent_at >= PROGRESS_INTERVAL:
            self._send_progress(now)

    async def pause(self, seconds: float) -> None:
        """Waits `seconds`, less if `poll_now` is called, and not at all after `end_pauses`.

        A poll adds a call of the CLI: the next regular one is made when it would have been made without the poll.
        """
        self._has_paused = True
        self._note_answer()
        now = self._now()
        if not now < self._next_call_at < now + seconds:
            self._next_call_at = now + seconds
        try:
            async with asyncio.timeout(self._next_call_at - now):
                await self._wake.wait()
        except TimeoutError:
            self._next_call_at = -inf
        self._polled_before_call = self._polled
        if self._pauses:
            self._wake.clear()

    def poll_now(self, poll: int) -> bool:
        """Ends the pause, so that the creator asks its CLI now, for poll number `poll`.

        Returns False if the creator has not paused yet: it may never ask its CLI, which then reports by itself.
        """
        if self._has_paused:
            self._polled = poll
            self._wake.set()
        return self._has_paused

    def end_pauses(self) -> None:
        """Ends all pauses: the run was ended, which the next call of the CLI shows."""
        self._pauses = False
        self._wake.set()

    def _note_answer(self) -> None:
        if self._polled_before_call > self._polled_and_answered:
            self._polled_and_answered = self._polled_before_call
            self._send_progress(self._now())
            self._answered(self._polled_and_answered)

    def _send_progress(self, now: float) -> None:
        if self._unsent is not None:
            self._add(self._unsent)
            self._unsent, self._sent_at = None, now


class LeaseReporters:
    """The reporters of the leases that run, and the polls that their CLIs answer."""

    def __init__(self, book: LeaseBook, add: Callable[[PendingUpdate], None], on_change: Callable[[], None]) -> None:
        self._book = book
        self._add = add
        self._on_change = on_change
        self._reporters: dict[str, LeaseReporter] = {}
        self.polls = OpenPolls()

    def open(self, lease: Lease) -> LeaseReporter:
        on_answer = partial(self._answered, lease.lease_id)
        reporter = self._reporters[lease.lease_id] = LeaseReporter(lease, self._book, self._add, on_answer, now)
        return reporter

    def run_over(self, lease_id: str) -> None:
        self._reporters.pop(lease_id, None)

    def end_pauses(self, lease_id: str) -> None:
        """Notes that the guard has ended a run because its deadline had passed.

        The run notices by itself: a CLI that the guard ended, or does not start, raises RunExpiredError. A CLI that had
        ended before has a result, which is paid for and may still be accepted: it is collected and sent.
        """
        if (reporter := self._reporters.get(lease_id)) is not None:
            reporter.end_pauses()

    def poll_now(self, poll_id: str) -> None:
        """Ends the pauses of all creators, so that each asks its CLI at once."""
        if self.polls.knows(poll_id):
            return
        number = self.polls.next_number
        lease_ids = [lease_id for lease_id, reporter in self._reporters.items() if reporter.poll_now(number)]
        self.polls.open(poll_id, lease_ids, now())
        self._on_change()

    def check(self, at: float) -> None:
        """Sends the progress that is due at `at`, and gives up polls that have timed out."""
        for reporter in self._reporters.values():
            reporter.flush(at)
        if self.polls.settle(at):
            self._on_change()

    def _answered(self, lease_id: str, poll: int) -> None:
        self.polls.record_answer(lease_id, poll, now())
        self._on_change()
