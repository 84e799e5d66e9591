"""The scheduler's questions how the runs stand: which are open, and which was answered last (rule 18).

Layer: pure, inside session. Times are seconds of CLOCK_BOOTTIME.

A question is open until each CLI that it asked has answered since, or its run is over, or `LIMIT` has passed. Whoever
answers one has answered all that came before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

POLL_TIMEOUT = 7.0
"""Seconds that the CLIs get to answer a question: one that hangs holds nobody back for longer. Callers wait for 10."""
MAX_OPEN_POLLS = 100
"""Open questions. One more takes the place of the last one: its answer answers both."""


@dataclass(frozen=True, slots=True)
class _OpenPoll:
    poll_id: str
    number: int
    ends_at: float
    silent: set[str]
    """Leases whose CLI has not answered yet."""


class OpenPolls:
    """The questions of one stream, numbered by their coming."""

    def __init__(self) -> None:
        self.answered = ""
        """The id of the last question that is answered; empty: none of this stream's."""
        self._open: list[_OpenPoll] = []
        self._number = 0

    @property
    def next_number(self) -> int:
        """The number of the next question that is opened."""
        return self._number + 1

    def forget(self) -> None:
        """Another stream begins: what is still to be known is asked again there."""
        self.answered = ""
        self._open.clear()

    def knows(self, poll_id: str) -> bool:
        """Whether that question is open, or was answered last: it is asked again where an answer takes its time."""
        return poll_id == self.answered or any(question.poll_id == poll_id for question in self._open)

    def open(self, poll_id: str, asked: Iterable[str], at: float) -> None:
        """A question that the CLIs of these leases were asked."""
        self._number += 1
        if len(self._open) == MAX_OPEN_POLLS:
            self._open.pop()
        self._open.append(_OpenPoll(poll_id, self._number, at + POLL_TIMEOUT, set(asked)))
        self.settle(at)

    def record_answer(self, lease_id: str, number: int, at: float) -> None:
        """The CLI of a lease has answered all questions up to `number`."""
        for question in self._open:
            if question.number <= number:
                question.silent.discard(lease_id)
        self.settle(at)

    def record_end(self, lease_id: str, at: float) -> None:
        """The run of a lease is over: its end answers whatever was asked of it."""
        self.record_answer(lease_id, self._number, at)

    def settle(self, at: float) -> bool:
        """Takes what is answered at `at`, or has waited for too long, off the list; whether there was any."""
        done = [question for question in self._open if not question.silent or question.ends_at <= at]
        if not done:
            return False
        self.answered = done[-1].poll_id
        self._open = [question for question in self._open if question.number > done[-1].number]
        return True
