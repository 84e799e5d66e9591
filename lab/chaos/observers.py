"""Who looks at a campaign from outside all the time, and journals what is seen or received. Beside `load`."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import grpc
import standardwebhooks
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from contentgen import ContentGenerationClient, RequestError
from lab.chaos.collected import sha256
from lab.chaos.evidence import Appender, HealthSeen, Probe, Received, Submit, Subscribed, Watched
from lab.deployment.deployment import every
from tests.harness.http_server import Handler, HttpServer
from tests.harness.load import Watchers

_PROBE_EVERY, _PROBE_TIMEOUT = 0.2, 1.0
_TOPIC = "a topic that is submitted again and again"
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),  # it is the schedulers' time that is measured, not the channel's
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.lb_policy_name", "round_robin"),
)
_HEALTH_EVERY, _HEALTH_TIMEOUT = 0.25, 0.5
_CAUGHT_UP_TIMEOUT = 30.0
NETWORK = "127.0.0.1"
"""What `CONTENTGEN_WEBHOOK_ALLOW` has to name."""


@contextmanager
def probing(target: str, journal: Appender, request_id: str, account_id: int, wrong: list[str]) -> Iterator[None]:
    """Finds out, a few times a second, whether a submit is acknowledged: how long recovery takes is read from that.

    It submits one task under one request id for ever: each call is a transaction, and none makes a task. `wrong` gets
    what is answered by another task.
    """
    with ContentGenerationClient(target) as client:
        first = client.submit_task(account_id, _TOPIC, request_id=request_id)
    journal.append(Submit(first, request_id, account_id, sha256(_TOPIC), time.time()))

    def probe(client: ContentGenerationClient) -> None:
        begin = time.time()
        try:
            task_id = client.submit_task(account_id, _TOPIC, request_id=request_id)
        except RequestError:
            return  # what a refused submit may say is for the load to judge
        journal.append(Probe(begin, time.time()))
        if task_id != first:
            wrong.append(f"request {request_id} was answered by {task_id}, and before by {first}")

    with (
        grpc.insecure_channel(target, _OPTIONS) as channel,
        ContentGenerationClient(target, channel=channel, timeout=_PROBE_TIMEOUT) as client,
        every(_PROBE_EVERY, partial(probe, client), "prober"),
    ):
        yield


@contextmanager
def health_watched(targets: Mapping[str, str], journal: Appender) -> Iterator[None]:
    """Asks each scheduler for its health, a few times a second, and journals each change of what it says.

    `targets`: the schedulers' own addresses, past all wires, by name.
    """
    states: dict[str, bool] = {}
    with ExitStack() as stack:
        options = (("grpc.max_reconnect_backoff_ms", 500),)
        stubs: dict[str, Any] = {
            name: HealthStub(stack.enter_context(grpc.insecure_channel(target, options)))
            for name, target in targets.items()
        }

        def look() -> None:
            for name, stub in stubs.items():
                serving = _is_serving(stub)
                if serving is not None and states.get(name) is not serving:
                    states[name] = serving
                    journal.append(HealthSeen(name, serving, time.time()))

        stack.enter_context(every(_HEALTH_EVERY, look, "health-watch"))
        yield


def _is_serving(stub: Any) -> bool | None:
    """Returns whether a scheduler serves. Returns None if it does not answer."""
    try:
        answer = stub.Check(HealthCheckRequest(), timeout=_HEALTH_TIMEOUT)
    except grpc.RpcError:
        return None
    return bool(answer.status == HealthCheckResponse.SERVING)


class JournalingWatchers(Watchers):
    """What they were told is compared with the histories."""

    def __init__(self, target: str, journal: Appender) -> None:
        super().__init__(target, self._note)
        self._journal = journal
        self._seen: Counter[int] = Counter()
        """Moves that they were told of, by account."""
        self._changed = threading.Condition()

    def await_first(self, account_ids: Sequence[int]) -> None:
        """Waits until each has been told of something: from then on it has a token, and misses nothing."""
        with self._changed:
            self._changed.wait_for(lambda: all(map(self._seen.get, account_ids)), _CAUGHT_UP_TIMEOUT)

    def await_moves(self, moves: int) -> None:
        """Waits until they were told of so many, or should have been."""
        with self._changed:
            self._changed.wait_for(lambda: self._seen.total() >= moves, _CAUGHT_UP_TIMEOUT)

    def _note(self, account_id: int, change: Mapping[str, Any]) -> None:
        task, previous = change["task"], change["previous_status"] or ""
        self._journal.append(Watched(task["task_id"], account_id, previous, task["status"], time.time()))
        with self._changed:
            self._seen[account_id] += 1
            self._changed.notify_all()


class Receiver(HttpServer):
    """The server of a webhook, with a thread a request, within the block that enters it; nothing hurts it."""

    def __init__(self, journal: Appender, refuses: Iterator[bool]) -> None:
        """`refuses` says of one request after the other whether it is answered with an error."""
        super().__init__(_Delivery)
        self.wrong: list[str] = []
        """Requests that are not signed as they should be."""
        self.patient = False
        """Whether it accepts everything from now on."""
        self._journal = journal
        self._lock = threading.Lock()
        self._refuses = refuses
        self._signer: standardwebhooks.Webhook

    def subscribe(self, target: str) -> Subscribed:
        """Creates the webhook, for all accounts."""
        with ContentGenerationClient(target) as client:
            webhook = client.create_webhook(
                f"{self.url}/", ("task.ended", "content.pending_review", "content.approved")
            )
        self._signer = standardwebhooks.Webhook(webhook["secret"])
        return Subscribed(webhook["webhook_id"])

    def take(self, headers: dict[str, str], body: bytes) -> int:
        try:
            message = self._signer.verify(body, headers)
        except standardwebhooks.WebhookVerificationError as error:
            self.wrong.append(f"a delivery was not signed as it should be: {error}: {headers}")
            return HTTPStatus.SERVICE_UNAVAILABLE
        with self._lock:
            accepted = not next(self._refuses) or self.patient
        data = message["data"]
        event_id = headers["webhook-id"]
        self._journal.append(Received(event_id, message["type"], data["task_id"], data["status"], accepted))
        return HTTPStatus.NO_CONTENT if accepted else HTTPStatus.SERVICE_UNAVAILABLE


class _Delivery(Handler):
    server: Receiver

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.answer(self.server.take(headers, self.body()))
