"""Honest work beside an attack: clients that submit a task, wait for its end, and look at what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.fuzz.services import HONEST_ACCOUNT
from tests.harness.creators import ARTICLE

CLIENTS = 2
WITHIN = 120
"""Seconds in which a task has to complete, although hostile workers may take it and say no more of it."""


class Honest:
    """Counts what was completed, and keeps what went wrong."""

    def __init__(self, target: str, token: str) -> None:
        self.seconds: list[float] = []
        """From each submit to its content, in the order in which they came."""
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._channel = grpc.insecure_channel(target)
        self._tasks = TaskServiceStub(self._channel)
        self._contents = ContentServiceStub(self._channel)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Clients of it work until the block ends; each finishes what it has begun."""
        threads = [threading.Thread(target=self._work, name=f"honest-{n}") for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
            self._channel.close()

    def _work(self) -> None:
        while not self._stopped.is_set():
            start = time.monotonic()
            try:
                self._one_task()
            except (grpc.RpcError, AssertionError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                self._stopped.wait(1)
            else:
                self.seconds.append(time.monotonic() - start)

    def _one_task(self) -> None:
        request = pb.SubmitTaskRequest(account_id=HONEST_ACCOUNT, topic="honest work", priority=10)
        task = self._tasks.SubmitTask(request, timeout=30, metadata=self._metadata).task
        wait = pb.WaitTaskRequest(task_id=task.task_id)
        wait.timeout.FromSeconds(WITHIN)
        task = self._tasks.WaitTask(wait, timeout=WITHIN + 30, metadata=self._metadata).task
        assert task.status == task_pb2.TASK_STATUS_COMPLETED, f"an honest task is not completed: {task}"
        wanted_content = content_pb.GetContentRequest(content_id=task.content_id)
        content = self._contents.GetContent(wanted_content, timeout=30, metadata=self._metadata).content
        assert content.body == ARTICLE, f"an honest task has the content of another: {content.body[:200]!r}"
