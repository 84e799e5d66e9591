"""The clients of a cluster: some that submit, one that watches; all through the balancer. Beside `nodes`."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack

from contentgen import ContentGenerationClient, ContentGenerationError, RequestError

_CLIENTS = 8
_CALL_TIMEOUT = 4.0
_PAUSE = 0.2
_TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
_MAX_DUE = 200
"""Submits that clients fall behind by, at most: after an outage they catch up with so many."""
_RETRIES = 20
_TASK_TIMEOUT = 60.0


class Load:
    """Submits until it is stopped. A client repeats what is UNAVAILABLE under the same request id, as a careful caller
    would, until it is acknowledged.
    """

    def __init__(self, target: str, rate: float, run_seconds: float) -> None:
        """`rate` in tasks a second; a CLI runs for `run_seconds`."""
        self.rate = rate
        self.task_ids: dict[str, str] = {}
        """Of what was acknowledged, by request id."""
        self.completed: Counter[str] = Counter()
        """How often the watcher was told that a task has completed."""
        self.errors: Counter[str] = Counter()
        """Calls that were repeated, by status code."""
        self.wrong: list[str] = []
        """Answers that no caller should get."""
        self._target = target
        self._run = str(run_seconds)
        self._submits = 0
        self._slowest = 0.0
        self._under_way: dict[str, float] = {}
        """When the submits without an answer yet began, by request id."""
        self._lock = threading.Lock()
        self._due: queue.Queue[str | None] = queue.Queue(_MAX_DUE)
        self._paced = threading.Event()
        self._give_up_at = float("inf")
        self._stack = ExitStack()
        self._account_id = 0
        self._run_id = uuid.uuid4().hex[:8]
        self._pacer = threading.Thread(target=self._pace, name="pacer")
        self._clients = [threading.Thread(target=self._client, name=f"client-{n}") for n in range(_CLIENTS)]
        self._watcher: threading.Thread | None = None

    @property
    def submitted(self) -> int:
        """Tasks, each counted once, however often its call was repeated."""
        return self._submits

    @property
    def acknowledged(self) -> int:
        return len(self.task_ids)

    @property
    def open(self) -> int:
        """Tasks that were acknowledged, and of whose end the watcher was not told."""
        return self.acknowledged - len(self.completed)

    def slowest(self) -> float:
        """Seconds of the slowest submit, repeats included, of those under way and those since this was asked last."""
        now = time.monotonic()
        with self._lock:
            slowest, self._slowest = self._slowest, 0.0
            return max([slowest, *(now - began for began in self._under_way.values())])

    def start(self) -> None:
        """Makes an account, watches it, and begins. Raises RequestError."""
        client = self._stack.enter_context(ContentGenerationClient(self._target))
        self._account_id = client.create_account("cluster")["account_id"]
        watch = self._stack.enter_context(client.watch(account_id=self._account_id, patience=None))

        def follow() -> None:
            try:
                for change in watch:
                    if change["task"]["status"] == "completed":
                        self.completed[change["task"]["task_id"]] += 1
            except (ContentGenerationError, ValueError) as error:
                self.wrong.append(f"the watch ended by itself: {error!r}")

        self._watcher = threading.Thread(target=follow, name="watcher")
        self._watcher.start()
        for thread in (self._pacer, *self._clients):
            thread.start()

    def stop(self, within: float) -> None:
        """Ends the submits; what is under way is repeated for so many seconds more. Idempotent."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + within)
        self._paced.set()
        for thread in (self._pacer, *self._clients):
            if thread.ident is not None:
                thread.join()

    def close(self) -> None:
        """Ends the watcher too. Idempotent."""
        self.stop(0.0)
        self._stack.close()
        if self._watcher is not None:
            self._watcher.join()

    def _pace(self) -> None:
        number = 0
        while not self._paced.wait(1 / self.rate if self.rate > 0 else _PAUSE):
            if self.rate > 0 and not self._due.full():
                number += 1
                self._due.put(f"{self._run_id}-{number}")
        with self._due.mutex:
            self._due.queue.clear()
        for _ in self._clients:
            self._due.put(None)

    def _client(self) -> None:
        with ContentGenerationClient(self._target, timeout=_CALL_TIMEOUT) as client:
            while (request_id := self._due.get()) is not None:
                self._submit(client, request_id)

    def _submit(self, client: ContentGenerationClient, request_id: str) -> None:
        began = time.monotonic()
        with self._lock:
            self._submits += 1
            self._under_way[request_id] = began
        try:
            self._repeat(client, request_id, began)
        finally:
            with self._lock:
                del self._under_way[request_id]

    def _repeat(self, client: ContentGenerationClient, request_id: str, began: float) -> None:
        while True:
            try:
                task_id = client.submit_task(
                    self._account_id,
                    f"topic of {request_id}",
                    request_id=request_id,
                    max_retries=_RETRIES,
                    timeout=_TASK_TIMEOUT,
                    creator_options={"seconds": self._run},
                )
            except RequestError as error:
                self.errors[error.code] += 1
                if error.code not in _TRANSIENT:
                    self.wrong.append(f"a submit was answered {error.code}: {error.message}")
                    return
                if time.monotonic() > self._give_up_at:
                    return
                time.sleep(_PAUSE)
                continue
            with self._lock:
                self.task_ids[request_id] = task_id
                self._slowest = max(self._slowest, time.monotonic() - began)
            return
