"""The clients of a campaign: what they ask for, journal and schedule; and who looks at it from outside all the time."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from queue import PriorityQueue
from typing import Any, NamedTuple, cast

import grpc
import standardwebhooks
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from contentgen import ContentGenerationClient, InvalidStateException, NewTask, RequestError, ScheduledTask
from lab.chaos import evidence
from lab.chaos.collected import sha256
from lab.chaos.creator import PICTURES
from lab.chaos.evidence import Appender, Scheduled, Submit
from lab.deployment.deployment import every
from tests.harness.http_server import Handler, HttpServer
from tests.harness.load import Callers, Watchers

# What is asked for: tasks, what their CLIs do, and what is done to them later. Pure.


_MODES: Mapping[str, float] = {
    "plain": 70,
    "deaf": 8,
    "fork": 8,
    "talk": 5,
    "fail": 4,
    "defer": 4,
    "rubbish": 2,
    "hang": 3,
}
"""How the CLI behaves, and how often."""
_MIN_RUN, _MAX_RUN, _MAX_IN_TIME = 0.3, 8.0, 1.5
"""Seconds of a run; most are short. What hangs at first has to come to its end in time later."""


class Account(NamedTuple):
    name: str
    cap: int
    weight: float
    share: float
    """How much of all that is submitted is its own; a cap must not hold up the end of a campaign."""


ACCOUNTS = (
    Account("plain", 0, 1.0, 0.45),
    Account("heavy", 0, 4.0, 0.45),
    Account("narrow", 3, 2.0, 0.08),
    Account("single", 1, 1.0, 0.02),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """One task to be submitted: the arguments of `submit_task`, and what is done to it later."""

    arguments: Mapping[str, Any]
    gives_up: bool
    """Whether its client does after the first failure."""
    then: Sequence[tuple[float, str]]
    """Seconds after the acknowledgement, and `cancel`, `force` or `retry`."""

    @property
    def topic_sha256(self) -> str:
        return sha256(str(self.arguments["topic"]))


def wish(chance: random.Random, request_id: str, account_ids: Sequence[int]) -> Wish:
    mode = chance.choices(list(_MODES), list(_MODES.values()))[0]
    longest = _MAX_IN_TIME if mode == "hang" else _MAX_RUN
    options = {
        "chaos-mode": mode,
        "chaos-seconds": f"{_MIN_RUN + (longest - _MIN_RUN) * chance.random() ** 3:.2f}",
        "chaos-times": str(chance.randint(1, 2)),
        "chaos-characters": str(int(10 ** chance.uniform(1, 4.7))),
        "chaos-file": str(int(10 ** chance.uniform(1, 5))) if chance.random() < 0.4 else "0",
        "chaos-picture": chance.choice(list(PICTURES)),
    }
    arguments: dict[str, Any] = {
        "account_id": chance.choices(account_ids, [account.share for account in ACCOUNTS][: len(account_ids)])[0],
        "topic": f"topic of {request_id}",
        "priority": chance.randint(1, 10) if chance.random() < 0.2 else 5,
        "auto_approve": chance.random() < 0.8,
        "max_retries": 0 if chance.random() < 0.02 else 20,  # disks that fill up cost some
        "timeout": 4.0 if mode == "hang" else 300.0,  # seconds; what hangs at first is not waited for
        "request_id": request_id,
        "creator_options": options,
    }
    gives_up, then = chance.random() < 0.1, []
    if chance.random() < 0.06:  # it is cancelled, mostly by force
        then.append((chance.uniform(0.0, 6.0), "force" if chance.random() < 0.6 else "cancel"))
    if mode in {"fail", "rubbish", "hang"}:  # its retry would wait for half a minute
        then += [(chance.uniform(5.0, 12.0), "retry"), (chance.uniform(15.0, 25.0), "retry")]
    return Wish(arguments, gives_up, then)


# Who asks.


_CLIENTS = 4
_JITTER = 20.0
_TASK: ScheduledTask = {
    "topic": "a topic that a schedule submits",
    "max_retries": 20,
    "creator_options": {"chaos-seconds": "0.5", "chaos-file": "1000"},
}


class Load(Callers):
    """Submits until it is stopped, as long as not too much is open."""

    def __init__(self, target: str, journal: Appender, seed: int, *, rate: float, busy: Callable[[], bool]) -> None:
        """`rate` is in submits a second, about, of all clients; while `busy`, none is made."""
        super().__init__(target)
        self.submitted = 0
        self._journal = journal
        self._seed = seed
        self._pause = _CLIENTS / rate
        self._busy = busy
        self._later_calls: PriorityQueue[tuple[float, str, str]] = PriorityQueue()
        """When a task is cancelled or retried, by the monotonic clock; its id, and what is done."""
        self._account_ids: list[int] = []

    def make_accounts(self) -> Sequence[int]:
        """Returns their ids. Call it before anything is hurt, and before `start`."""
        with ContentGenerationClient(self.target) as client:
            for account in ACCOUNTS:
                created = client.create_account(account.name, account.cap, account.weight)
                self._account_ids.append(created["account_id"])
        return self._account_ids

    def start(self) -> None:
        """Begins, with a task of each account."""
        chance = random.Random(f"first {self._seed}")
        with ContentGenerationClient(self.target) as client:
            for account_id in self._account_ids:
                self._submit(client, [wish(chance, f"{self._seed}-first-{account_id}", [account_id])])
        for number in range(_CLIENTS):
            self.go(f"client-{number}", self.client, partial(self._submit_on, number))
        self.go("later-calls", self.client, self._call_later)

    def _submit_on(self, number: int, client: ContentGenerationClient) -> None:
        chance = random.Random(f"client {self._seed} {number}")
        count = 0
        while not self.over.wait(chance.expovariate(1 / self._pause)):
            if self._busy():
                continue
            size = chance.randint(2, 8) if chance.random() < 0.1 else 1
            names = [f"{self._seed}-{number}-{count + n}" for n in range(size)]
            count += size
            self._submit(client, [wish(chance, name, self._account_ids) for name in names])

    def _submit(self, client: ContentGenerationClient, wishes: Sequence[Wish]) -> None:
        def call() -> list[str]:
            if len(wishes) > 1:
                return client.submit_tasks(cast("NewTask", item.arguments) for item in wishes)
            return [client.submit_task(**wishes[0].arguments)]

        task_ids = self.repeated(call, "submit", patient=not wishes[0].gives_up) or [""] * len(wishes)
        for item, task_id in zip(wishes, task_ids, strict=True):
            request = item.arguments["request_id"], item.arguments["account_id"], item.topic_sha256, time.time()
            if not task_id:
                self._journal.append(evidence.Unsure(*request))
                continue
            self._journal.append(Submit(task_id, *request))
            self.submitted += 1
            for delay, action in item.then:
                self._later_calls.put((time.monotonic() + delay, task_id, action))

    def _call_later(self, client: ContentGenerationClient) -> None:
        while not self.over.wait(0.02):  # so late is a call at most
            while not self._later_calls.empty() and not self.over.is_set():
                due, task_id, action = self._later_calls.get()
                if due > time.monotonic():
                    self._later_calls.put((due, task_id, action))
                    break
                self._change(client, task_id, action)

    def _change(self, client: ContentGenerationClient, task_id: str, action: str) -> None:
        name = "retry" if action == "retry" else "cancel"
        if self.repeated(partial(_changed, client, task_id, action), name) and name == "cancel":
            self._journal.append(evidence.Cancel(task_id, "cancelled", time.time()))


def _changed(client: ContentGenerationClient, task_id: str, action: str) -> bool:
    try:
        return client.retry_task(task_id) if action == "retry" else client.cancel_task(task_id, action == "force")
    except InvalidStateException:
        return False


def schedule(target: str, account_ids: Sequence[int]) -> list[Scheduled]:
    """Creates a schedule an account, which ticks every minute and catches up what it missed. Nothing is hurt yet."""
    schedules = []
    with ContentGenerationClient(target) as client:
        for account_id in account_ids:
            created = client.create_schedule(account_id, "* * * * *", _TASK, catch_up="all", jitter=_JITTER)
            begin = datetime.fromisoformat(created["created_at"]).timestamp()
            schedules.append(Scheduled(created["schedule_id"], account_id, begin, begin, _JITTER))
    return schedules


def pause(target: str, schedules: Sequence[Scheduled], journal: Appender, until: float) -> None:
    """Ends the ticks, and journals that none before `until` waits any more. Schedulers are well."""
    with ContentGenerationClient(target) as client:
        for ticking in schedules:
            while not _paused(client, ticking.schedule_id):
                time.sleep(0.3)
            journal.append(replace(ticking, until=until))


def _paused(client: ContentGenerationClient, schedule_id: int) -> bool:
    try:
        return client.pause_schedule(schedule_id)["paused"]
    except RequestError:
        return False


# Who looks, and journals what is seen or received.


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
        journal.append(evidence.Probe(begin, time.time()))
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
                with suppress(grpc.RpcError):  # one that does not answer has said nothing
                    answer = stub.Check(HealthCheckRequest(), timeout=_HEALTH_TIMEOUT)
                    serving = bool(answer.status == HealthCheckResponse.SERVING)
                    if states.get(name) is not serving:
                        states[name] = serving
                        journal.append(evidence.HealthSeen(name, serving, time.time()))

        stack.enter_context(every(_HEALTH_EVERY, look, "health-watch"))
        yield


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
        self._journal.append(evidence.Watched(task["task_id"], account_id, previous, task["status"], time.time()))
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

    def subscribe(self, target: str) -> evidence.Subscribed:
        """Creates the webhook, for all accounts."""
        with ContentGenerationClient(target) as client:
            webhook = client.create_webhook(
                f"{self.url}/", ("task.ended", "content.pending_review", "content.approved")
            )
        self._signer = standardwebhooks.Webhook(webhook["secret"])
        return evidence.Subscribed(webhook["webhook_id"])

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
        self._journal.append(evidence.Received(event_id, message["type"], data["task_id"], data["status"], accepted))
        return HTTPStatus.NO_CONTENT if accepted else HTTPStatus.SERVICE_UNAVAILABLE


class _Delivery(Handler):
    server: Receiver

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.answer(self.server.take(headers, self.body()))
