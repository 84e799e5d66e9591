"""Threads that are at it all the time while a deployment is hurt: callers, watchers, and who looks now and then."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from contentgen import ContentGenerationClient, ContentGenerationError, RequestError, Watch

T = TypeVar("T")
CALL_TIMEOUT = 4.0


@contextmanager
def every(seconds: float, look: Callable[[], object], name: str, *, patience: float | None = None) -> Iterator[None]:
    """Calls `look` again and again within the block, in a thread of that name.

    `patience`: seconds in the end for a look that may be held up; None: it has to come to its end.
    """
    over = threading.Event()

    def looking() -> None:
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=looking, name=name, daemon=patience is not None)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(patience)


class Callers:
    """Threads with the product's own client each.

    They repeat what is UNAVAILABLE under the same request id, as a careful caller would, or give up and are unsure.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.wrong: list[str] = []
        """Answers that no caller should get."""
        self.over = threading.Event()
        self._give_up_at = float("inf")
        self._threads: list[threading.Thread] = []

    def go(self, name: str, work: Callable[[ContentGenerationClient], None]) -> None:
        """Begins with a thread, which ends some time after `over` is set."""

        def call() -> None:
            with ContentGenerationClient(self.target, timeout=CALL_TIMEOUT) as client:
                work(client)

        self._threads.append(threading.Thread(target=call, name=name))
        self._threads[-1].start()

    def stop(self, within: float) -> None:
        """Ends the calls; what is under way is repeated for so many seconds more. Idempotent."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + within)
        self.over.set()
        for thread in self._threads:
            thread.join()

    def repeated(self, call: Callable[[], T], name: str, *, patient: bool = True) -> T | None:
        """Returns the answer; None where nobody knows what became of the call."""
        while True:
            try:
                return call()
            except RequestError as error:
                if error.code not in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
                    self.wrong.append(f"a {name} was answered {error.code}: {error.message}")
                    return None
            if not patient or time.monotonic() > self._give_up_at:
                return None
            time.sleep(random.uniform(0, 0.3))


class Watchers:
    """One an account follows every move from start to end, over whatever is done to schedulers."""

    def __init__(self, target: str, tell: Callable[[int, Mapping[str, Any]], None]) -> None:
        """`tell` is called with the account and each change."""
        self.wrong: list[str] = []
        """What ended a watch that nobody had closed."""
        self._target = target
        self._tell = tell
        self._threads: list[threading.Thread] = []
        self._stack = ExitStack()

    def start(self, account_ids: Sequence[int]) -> None:
        """Returns once a scheduler has taken each watch."""
        client = self._stack.enter_context(ContentGenerationClient(self._target))
        for account_id in account_ids:
            watch = self._stack.enter_context(client.watch(account_id=account_id, patience=None))
            thread = threading.Thread(target=self._follow, args=(account_id, watch), name=f"watcher-{account_id}")
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Ends them; may be called again."""
        self._stack.close()
        for thread in self._threads:
            thread.join()

    def _follow(self, account_id: int, watch: Watch) -> None:
        try:
            for change in watch:
                self._tell(account_id, change)
        except (ContentGenerationError, ValueError) as error:
            self.wrong.append(f"the watch of account {account_id} ended by itself: {error!r}")
