"""The scheduler's polls for the progress of runs: which are open, and which was answered last (rule 18).

Layer: pure, inside session. Times are seconds of CLOCK_BOOTTIME.

A poll is open until each CLI that it asked has answered, or its run is over, or POLL_TIMEOUT has passed. An answer to
one poll also answers all earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

POLL_TIMEOUT = 7.0
"""Seconds that the CLIs have to answer a poll. The scheduler's callers wait for 10."""
MAX_OPEN_POLLS = 100
"""Open polls. Another one replaces the newest: its answer answers both."""


@dataclass(frozen=True, slots=True)
class _OpenPoll:
    poll_id: str
    number: int
    ends_at: float
    silent: set[str]
    """Leases whose CLI has not answered yet."""


class OpenPolls:
    """The polls of one stream, numbered as they arrive."""

    def __init__(self) -> None:
        self.answered = ""
        """The id of the last poll that is answered; empty if none of this stream is."""
        self._open: list[_OpenPoll] = []
        self._number = 0

    @property
    def next_number(self) -> int:
        return self._number + 1

    def forget(self) -> None:
        """A new stream begins: the scheduler sends its polls again there."""
        self.answered = ""
        self._open.clear()

    def knows(self, poll_id: str) -> bool:
        """Whether that poll is open, or was answered last: the scheduler repeats a poll that takes long."""
        return poll_id == self.answered or any(poll.poll_id == poll_id for poll in self._open)

    def open(self, poll_id: str, asked: Iterable[str], at: float) -> None:
        """Opens a poll that the CLIs of `asked` have to answer."""
        self._number += 1
        if len(self._open) == MAX_OPEN_POLLS:
            self._open.pop()
        self._open.append(_OpenPoll(poll_id, self._number, at + POLL_TIMEOUT, set(asked)))
        self.settle(at)

    def record_answer(self, lease_id: str, number: int, at: float) -> None:
        for poll in self._open:
            if poll.number <= number:
                poll.silent.discard(lease_id)
        self.settle(at)

    def record_end(self, lease_id: str, at: float) -> None:
        self.record_answer(lease_id, self._number, at)

    def settle(self, at: float) -> bool:
        """Removes the polls that are answered, or have timed out by `at`. Returns whether there were any."""
        ended_polls = [poll for poll in self._open if not poll.silent or poll.ends_at <= at]
        if not ended_polls:
            return False
        self.answered = ended_polls[-1].poll_id
        self._open = [poll for poll in self._open if poll.number > ended_polls[-1].number]
        return True
