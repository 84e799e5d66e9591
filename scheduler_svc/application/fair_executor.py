"""Which call runs next on a few threads: callers share them, however many calls one of them makes. Behind `calls`.

What is scarce is the threads, each with its connection. So a thread that gets free goes to the caller who holds the
fewest, and between equals to the one who has waited longest for a turn. A caller's own calls begin in the order they
came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

Work = Callable[[], Any]

INTERNAL_CALLER = ""
"""Who calls where nobody does: the replica's own loops."""


class FairExecutor:
    """A bounded executor that is fair between callers, who are told apart by name. Any thread may use it.

    One thread is kept from each caller, so that who has little to do never waits for all of another's slow calls.
    `OURSELVES` may have all of them.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._most = max(1, threads - 1)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._lock = Lock()
        self._waiting: dict[str, dict[Future[Any], Work]] = {}  # none is empty; in the order of the last turns
        self._running: Counter[str] = Counter()
        self._serving = 0

    def submit(self, who: str, work: Work) -> Future[Any]:
        """Queues `work` behind what `who` has waiting; its outcome. What is cancelled before its turn never runs."""
        future: Future[Any] = Future()
        with self._lock:
            if self._serving < self._threads:
                self._executor.submit(self._serve)
                self._serving += 1
            self._waiting.setdefault(who, {})[future] = work
        return future

    def refuse(self, who: str, future: Future[Any], error: Exception) -> None:
        """Fails what still waits for its turn, by `error`; what runs or is over is left alone."""
        with self._lock:
            waiting = self._waiting.get(who, {})
            if waiting.pop(future, None) is None:
                return
            if not waiting:
                del self._waiting[who]
        if future.set_running_or_notify_cancel():
            future.set_exception(error)

    def close(self) -> None:
        """Takes nothing more; returns when all that was submitted is over."""
        self._executor.shutdown(wait=True)

    def _serve(self) -> None:
        """One call after the other, until there is none that may run beside those that do."""
        while (turn := self._next()) is not None:
            who, future, work = turn
            _run(future, work)
            with self._lock:
                self._running -= Counter((who,))

    def _next(self) -> tuple[str, Future[Any], Work] | None:
        with self._lock:
            while (who := self._who_is_next()) is not None:
                calls = self._waiting.pop(who)
                future, work = next(iter(calls.items()))
                del calls[future]
                if calls:
                    self._waiting[who] = calls
                if future.set_running_or_notify_cancel():
                    self._running[who] += 1
                    return who, future, work
            self._serving -= 1
            return None

    def _who_is_next(self) -> str | None:
        may = (who for who in self._waiting if who == INTERNAL_CALLER or self._running[who] < self._most)
        return min(may, key=self._running.__getitem__, default=None)


def _run(future: Future[Any], work: Work) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is for whoever waits for the outcome
        future.set_exception(error)
        del future  # the error's traceback holds this frame, and the future the error
    else:
        future.set_result(result)
