"""The clients of a cluster: some that submit, one that watches; all through the balancer."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

from contentgen import ContentGenerationClient
from tests.harness.load import Callers, Watchers

_CLIENTS = 8


class Load(Callers):
    """Submits until it is stopped; each submit is repeated until it is acknowledged."""

    def __init__(self, target: str, rate: float, run_seconds: float) -> None:
        """`rate` in tasks a second; a CLI runs for `run_seconds`."""
        super().__init__(target)
        self.rate = rate
        self.task_ids: dict[str, str] = {}
        """Of what was acknowledged, by request id."""
        self.completed: Counter[str] = Counter()
        """How often the watcher was told that a task has completed."""
        self.submitted = 0
        """Tasks, each counted once, however often its call was repeated."""
        self._run = str(run_seconds)
        self._slowest = 0.0
        self._under_way: dict[str, float] = {}
        """When the submits without an answer yet began, by request id."""
        self._lock = threading.Lock()
        self._due: queue.Queue[str | None] = queue.Queue(200)  # after an outage clients catch up with so many
        self._account_id = 0
        self._run_id = uuid.uuid4().hex[:8]
        self._last_answer = time.monotonic()
        self._gap = 0.0
        self._saw_failover = False
        self._watchers = Watchers(target, self._note, self._read_missed)
        self._watchers.wrong = self.wrong

    @property
    def acknowledged(self) -> int:
        return len(self.task_ids)

    @property
    def open(self) -> int:
        """Tasks that were acknowledged, and of whose end the watcher was not told."""
        return self.acknowledged - len(self.completed)

    def slowest(self) -> float:
        """Returns the slowest submit's seconds, repeats included, of those under way and since this was asked last."""
        now = time.monotonic()
        with self._lock:
            slowest, self._slowest = self._slowest, 0.0
            return max([slowest, *(now - began for began in self._under_way.values())])

    def gap(self) -> float:
        """Returns the longest time without an acknowledgement, in seconds, up to now since this was asked last."""
        with self._lock:
            gap, self._gap = self._gap, 0.0
            return max(gap, time.monotonic() - self._last_answer)

    def start(self) -> None:
        """Makes an account, watches it, and begins. Raises RequestError."""
        with ContentGenerationClient(self.target) as client:
            self._account_id = client.create_account("cluster")["account_id"]
        self._watchers.start([self._account_id])
        self.go("pacer", self.client, self._pace)
        for number in range(_CLIENTS):
            self.go(f"client-{number}", self.client, self._submit_on)

    def close(self) -> None:
        self.stop()
        self._watchers.stop()

    def _note(self, _: int, change: Mapping[str, Any]) -> None:
        if change["task"]["status"] == "completed":
            self._count(change["task"]["task_id"])

    def _read_missed(self, client: ContentGenerationClient, account_id: int) -> None:
        """Reads what has completed while no watch could go on; the new watch may tell of some of it, too."""
        self._saw_failover = True
        for task in client.iter_tasks(account_id, "completed", page_size=1_000):
            self._count(task["task_id"])

    def _count(self, task_id: str) -> None:
        self.completed[task_id] = 1 if self._saw_failover else self.completed[task_id] + 1

    def _pace(self, _: ContentGenerationClient) -> None:
        number = 0
        while not self.over.wait(1 / self.rate if self.rate > 0 else 0.2):
            if self.rate > 0 and not self._due.full():
                number += 1
                self._due.put(f"{self._run_id}-{number}")
        with self._due.mutex:
            self._due.queue.clear()
        for _client in range(_CLIENTS):
            self._due.put(None)

    def _submit_on(self, client: ContentGenerationClient) -> None:
        while (request_id := self._due.get()) is not None:
            began = time.monotonic()
            with self._lock:
                self.submitted += 1
                self._under_way[request_id] = began
            task_id = self.repeated(lambda: self._submit(client, request_id), "submit")
            with self._lock:
                del self._under_way[request_id]
                if task_id is not None:
                    self.task_ids[request_id] = task_id
                    now = time.monotonic()
                    self._slowest = max(self._slowest, now - began)
                    self._gap, self._last_answer = max(self._gap, now - self._last_answer), now

    def _submit(self, client: ContentGenerationClient, request_id: str) -> str:
        return client.submit_task(
            self._account_id,
            f"topic of {request_id}",
            request_id=request_id,
            max_retries=20,  # faults cost some
            timeout=60.0,
            creator_options={"seconds": self._run},
        )
