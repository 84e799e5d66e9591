"""Threads that callers share fairly, however many calls one of them makes. Used by `calls`.

The threads, each with its connection, are what is scarce. A free thread takes a call of the caller that holds the
fewest threads, and among equals of the one that has waited longest. One caller's calls start in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

Work = Callable[[], Any]

INTERNAL_CALLER = ""


class FairExecutor:
    """A bounded executor that is fair between callers, by their names. Any thread may use it.

    A caller gets at most all threads but one, so that a caller with few calls never waits for all of another's slow
    ones. `INTERNAL_CALLER` may have all.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._max_per_caller = max(1, threads - 1)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._lock = Lock()
        self._waiting: dict[str, dict[Future[Any], Work]] = {}  # none is empty; in the order of the last turns
        self._running: Counter[str] = Counter()
        self._serving = 0

    def submit(self, caller: str, work: Work) -> Future[Any]:
        """Queues `work` behind the caller's other calls. If the future is cancelled before the start, it never runs."""
        future: Future[Any] = Future()
        with self._lock:
            if self._serving < self._threads:
                self._executor.submit(self._serve)
                self._serving += 1
            self._waiting.setdefault(caller, {})[future] = work
        return future

    def refuse(self, caller: str, future: Future[Any], error: Exception) -> None:
        """Fails a call that still waits with `error`; one that runs or is over is left alone."""
        with self._lock:
            waiting = self._waiting.get(caller, {})
            if waiting.pop(future, None) is None:
                return
            if not waiting:
                del self._waiting[caller]
        if future.set_running_or_notify_cancel():
            future.set_exception(error)

    def close(self) -> None:
        """Takes no more calls; returns once all that were submitted are over."""
        self._executor.shutdown(wait=True)

    def _serve(self) -> None:
        """Runs one call after the other, until no waiting call may run."""
        while (turn := self._next()) is not None:
            caller, future, work = turn
            _run(future, work)
            with self._lock:
                self._running -= Counter((caller,))

    def _next(self) -> tuple[str, Future[Any], Work] | None:
        with self._lock:
            while (caller := self._next_caller()) is not None:
                calls = self._waiting.pop(caller)
                future, work = next(iter(calls.items()))
                del calls[future]
                if calls:
                    self._waiting[caller] = calls
                if future.set_running_or_notify_cancel():
                    self._running[caller] += 1
                    return caller, future, work
            self._serving -= 1
            return None

    def _next_caller(self) -> str | None:
        eligible = (it for it in self._waiting if it == INTERNAL_CALLER or self._running[it] < self._max_per_caller)
        return min(eligible, key=self._running.__getitem__, default=None)


def _run(future: Future[Any], work: Work) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is for whoever waits for the outcome
        future.set_exception(error)
        del future  # the error's traceback holds this frame, and the future the error
    else:
        future.set_result(result)
