"""Watchers of a campaign: one an account follows every move from start to end, over whatever is done to schedulers.

Beside `load`: what they were told is journaled, and compared with the histories.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from contentgen import ContentGenerationClient, ContentGenerationError, Watch
from lab.chaos.evidence import Watched
from lab.chaos.journals import Appender

_CAUGHT_UP_TIMEOUT = 30.0
_POLL = 0.1


class Watchers:
    """A thread an account."""

    def __init__(self, target: str, journal: Appender) -> None:
        self.wrong: list[str] = []
        """What ended a watch that nobody had closed."""
        self._target = target
        self._journal = journal
        self._seen: dict[int, int] = {}
        self._watches: list[Watch] = []
        self._threads: list[threading.Thread] = []
        self._stack = ExitStack()

    @property
    def seen(self) -> int:
        """Moves that they were told of."""
        return sum(self._seen.values())

    def start(self, account_ids: Sequence[int]) -> None:
        """Returns once a scheduler has taken each watch."""
        client = self._stack.enter_context(ContentGenerationClient(self._target))
        for account_id in account_ids:
            self._seen[account_id] = 0
            watch = self._stack.enter_context(client.watch(account_id=account_id, patience=None))
            thread = threading.Thread(target=self._follow, args=(account_id, watch), name=f"watcher-{account_id}")
            thread.start()
            self._threads.append(thread)

    def await_first(self) -> None:
        """Until each has been told of something: from then on it has a token, and misses nothing."""
        self._await(lambda: all(self._seen.values()))

    def stop(self, moves: int) -> None:
        """Ends them, once they were told of so many moves, or should have been. Idempotent."""
        self._await(lambda: self.seen >= moves)
        self._stack.close()
        for thread in self._threads:
            thread.join()

    def _await(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _CAUGHT_UP_TIMEOUT
        while not reached() and time.monotonic() < deadline:
            time.sleep(_POLL)

    def _follow(self, account_id: int, watch: Watch) -> None:
        try:
            for change in watch:
                task = change["task"]
                move = Watched(
                    task["task_id"], account_id, change["previous_status"] or "", task["status"], time.time()
                )
                self._journal.append(move)
                self._seen[account_id] += 1
        except (ContentGenerationError, ValueError) as error:
            self.wrong.append(f"the watch of account {account_id} ended by itself: {error!r}")
