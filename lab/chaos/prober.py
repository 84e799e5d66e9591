"""Finds out, a few times a second, whether a submit is acknowledged: how long recovery takes is read from that.

Beside `load`. It submits one task under one request id for ever: each call is a transaction, and none makes a task.
"""

from __future__ import annotations

import hashlib
import threading
import time

import grpc

from contentgen import ContentGenerationClient, RequestError
from lab.chaos.evidence import Probe, Submit
from lab.chaos.journals import Appender

_EVERY = 0.2
_CALL_TIMEOUT = 1.0
_TOPIC = "a topic that is submitted again and again"
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),  # it is the schedulers' time that is measured, not the channel's
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.lb_policy_name", "round_robin"),
)


class Prober:
    """A thread of its own from `start` to `stop`."""

    def __init__(self, target: str, journal: Appender, request_id: str) -> None:
        self.wrong: list[str] = []
        """Where the same request id was answered by another task."""
        self._target = target
        self._journal = journal
        self._request_id = request_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober")
        self._account_id = 0
        self._task_id = ""

    def start(self, account_id: int) -> None:
        """Makes the one task, in this account, and begins."""
        self._account_id = account_id
        with ContentGenerationClient(self._target) as client:
            self._task_id = self._submit(client)
        topic = hashlib.sha256(_TOPIC.encode()).hexdigest()
        self._journal.append(Submit(self._task_id, self._request_id, account_id, topic, time.time()))
        self._thread.start()

    def stop(self) -> None:
        """Idempotent."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        with (
            grpc.insecure_channel(self._target, _OPTIONS) as channel,
            ContentGenerationClient(self._target, channel=channel, timeout=_CALL_TIMEOUT) as client,
        ):
            while not self._over.wait(_EVERY):
                self._probe(client)

    def _probe(self, client: ContentGenerationClient) -> None:
        begin = time.time()
        try:
            task_id = self._submit(client)
        except RequestError:
            return  # what a refused submit may say is for the load to judge
        self._journal.append(Probe(begin, time.time()))
        if task_id != self._task_id:
            self.wrong.append(f"request {self._request_id} was answered by {task_id}, and before by {self._task_id}")

    def _submit(self, client: ContentGenerationClient) -> str:
        return client.submit_task(self._account_id, _TOPIC, request_id=self._request_id)
