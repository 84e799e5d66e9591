"""The clients of a campaign: what they ask for, a few threads that journal what they were told, and schedules."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from queue import PriorityQueue
from typing import Any

from contentgen import ContentGenerationClient, InvalidStateException, RequestError
from lab.chaos.creator import PICTURES
from lab.chaos.evidence import Appender, Cancel, Scheduled, Submit, Unsure
from tests.harness.load import Callers

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


@dataclass(frozen=True, slots=True)
class Account:
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
        return hashlib.sha256(str(self.arguments["topic"]).encode()).hexdigest()


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
_TASK = {
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
                return client.submit_tasks(item.arguments for item in wishes)
            return [client.submit_task(**wishes[0].arguments)]

        task_ids = self.repeated(call, "submit", patient=not wishes[0].gives_up) or [""] * len(wishes)
        for item, task_id in zip(wishes, task_ids, strict=True):
            request = item.arguments["request_id"], item.arguments["account_id"], item.topic_sha256, time.time()
            if not task_id:
                self._journal.append(Unsure(*request))
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
            self._journal.append(Cancel(task_id, "cancelled", time.time()))


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
