"""The clients of a campaign: a few threads with the product's own library, which journal what they were told.

A client repeats what is UNAVAILABLE under the same request id, as a careful caller would, or gives up and is unsure.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from scheduler_svc.client import ContentGenerationClient, InvalidStateException
from tests.chaos.evidence import Cancel, Submit, Unsure
from tests.chaos.journals import Appender

RETRIES = 20
"""`max_retries` of tasks: disks that fill up cost some."""
_TRANSIENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_CALL_LIMIT = 4.0
_PAUSE = 0.3
_GIVES_UP = 0.1
"""Share of the submits whose client gives up after the first failure."""
_BATCHES = 0.1
_LARGEST_BATCH = 8
_CANCELLED, _FORCED = 0.06, 0.6
_URGENT_OR_NOT = 0.2
"""Share of the tasks whose priority is not the default."""
_LAST_CALLS = 60.0
"""Seconds that calls may still be repeated when the load is told to end."""
_MODES: Mapping[str, float] = {
    "plain": 70,
    "deaf": 8,
    "fork": 8,
    "talk": 5,
    "fail": 4,
    "rubbish": 2,
    "hang": 3,
}
"""How the CLI behaves, and how often."""
_MISBEHAVES = frozenset({"fail", "rubbish", "hang"})
_IMPATIENCE = 4.0
"""Seconds: the timeout of a task whose CLI hangs at first."""
_SHORTEST, _LONGEST, _LONGEST_IN_TIME = 0.3, 8.0, 1.5
"""Seconds of a run; most are short. What hangs at first has to come to its end in time later."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the campaign."""

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
    then: Sequence[tuple[float, str]]
    """Seconds after the acknowledgement, and `cancel`, `force` or `retry`."""

    @property
    def topic_sha256(self) -> str:
        return hashlib.sha256(str(self.arguments["topic"]).encode()).hexdigest()


def wish(chance: random.Random, request_id: str, account_ids: Sequence[int]) -> Wish:
    """A task, chosen with `chance` alone."""
    mode = chance.choices(list(_MODES), list(_MODES.values()))[0]
    longest = _LONGEST_IN_TIME if mode == "hang" else _LONGEST
    options = {
        "chaos-mode": mode,
        "chaos-seconds": f"{_SHORTEST + (longest - _SHORTEST) * chance.random() ** 3:.2f}",
        "chaos-times": str(chance.randint(1, 2)),
        "chaos-characters": str(int(10 ** chance.uniform(1, 4.7))),
    }
    arguments: dict[str, Any] = {
        "account_id": chance.choices(account_ids, [account.share for account in ACCOUNTS][: len(account_ids)])[0],
        "topic": f"topic of {request_id}",
        "priority": chance.randint(1, 10) if chance.random() < _URGENT_OR_NOT else 5,
        "auto_approve": chance.random() < 0.8,
        "max_retries": 0 if chance.random() < 0.02 else RETRIES,
        "timeout": _IMPATIENCE if mode == "hang" else 300.0,
        "request_id": request_id,
        "creator_options": options,
    }
    return Wish(arguments, chance.random() < _GIVES_UP, tuple(_afterwards(chance, mode)))


def _afterwards(chance: random.Random, mode: str) -> list[tuple[float, str]]:
    then = []
    if chance.random() < _CANCELLED:
        then.append((chance.uniform(0.0, 6.0), "force" if chance.random() < _FORCED else "cancel"))
    if mode in _MISBEHAVES:  # its retry would wait for half a minute
        then += [(chance.uniform(5.0, 12.0), "retry"), (chance.uniform(15.0, 25.0), "retry")]
    return then


class Load:
    """Submits until it is stopped, as long as not too much is open."""

    def __init__(
        self, target: str, journal: Appender, seed: int, *, rate: float, clients: int, busy: Callable[[], bool]
    ) -> None:
        """`rate` is in submits a second, about, of all clients; while `busy`, none is made."""
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        """Answers that no caller should get."""
        self._target = target
        self._journal = journal
        self._seed = seed
        self._pause = clients / rate
        self._busy = busy
        self._over = threading.Event()
        self._give_up_at = float("inf")
        self._errands = Errands()
        self._threads = [
            threading.Thread(target=self._submitter, args=(n,), name=f"client-{n}") for n in range(clients)
        ]
        self._threads.append(threading.Thread(target=self._errand_runner, name="errands"))
        self._account_ids: list[int] = []

    def make_accounts(self) -> Sequence[int]:
        """Their ids. Before anything is hurt, and before `start`."""
        with ContentGenerationClient(self._target) as client:
            for account in ACCOUNTS:
                made = client.create_account(account.name, account.cap, account.weight)
                self._account_ids.append(made["account_id"])
        return self._account_ids

    def start(self) -> None:
        """Begins, with a task of each account."""
        chance = random.Random(f"first {self._seed}")
        with ContentGenerationClient(self._target) as client:
            for account_id in self._account_ids:
                self._submit(client, chance, [wish(chance, f"{self._seed}-first-{account_id}", [account_id])])
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the submits; what is under way is repeated for a while longer. Idempotent."""
        self._give_up_at = time.monotonic() + _LAST_CALLS
        self._over.set()
        self._errands.close()
        for thread in self._threads:
            thread.join()

    def _submitter(self, number: int) -> None:
        chance = random.Random(f"client {self._seed} {number}")
        made = 0
        with ContentGenerationClient(self._target, timeout=_CALL_LIMIT) as client:
            while not self._over.wait(chance.expovariate(1 / self._pause)):
                if self._busy():
                    continue
                size = chance.randint(2, _LARGEST_BATCH) if chance.random() < _BATCHES else 1
                names = [f"{self._seed}-{number}-{made + n}" for n in range(size)]
                made += size
                self._submit(client, chance, [wish(chance, name, self._account_ids) for name in names])

    def _submit(self, client: ContentGenerationClient, chance: random.Random, wishes: Sequence[Wish]) -> None:
        def call() -> list[str]:
            if len(wishes) > 1:
                return client.submit_tasks(each.arguments for each in wishes)
            return [client.submit_task(**wishes[0].arguments)]

        task_ids = self._repeated(call, chance, "submit", patient=not wishes[0].gives_up)
        if task_ids is None:
            self._note_unsure(wishes)
        else:
            self._note_submits(wishes, task_ids)

    def _repeated(self, call: Callable[[], Any], chance: random.Random, what: str, *, patient: bool) -> Any:
        """The answer; None where nobody knows what became of the call."""
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                if not self._transient(error, what):
                    return None
            if not patient or time.monotonic() > self._give_up_at:
                return None
            time.sleep(chance.uniform(0, _PAUSE))

    def _transient(self, error: grpc.RpcError, what: str) -> bool:
        """Whether a caller may try again; what else an honest call is answered is noted as wrong."""
        assert isinstance(error, grpc.Call)  # what a stub raises is both
        self.counts[f"{what} {error.code().name}"] += 1
        if error.code() in _TRANSIENT:
            return True
        self.wrong.append(f"a {what} was answered {error.code().name}: {error.details()}")
        return False

    def _note_submits(self, wishes: Sequence[Wish], task_ids: Sequence[str]) -> None:
        for each, task_id in zip(wishes, task_ids, strict=True):
            given = each.arguments
            self._journal.append(
                Submit(
                    task_id, given["request_id"], given["account_id"], each.topic_sha256, time.time(), given["priority"]
                )
            )
            self.counts["submitted"] += 1
            for after, what in each.then:
                self._errands.add(time.monotonic() + after, task_id, what)

    def _note_unsure(self, wishes: Sequence[Wish]) -> None:
        for each in wishes:
            given = each.arguments
            self._journal.append(Unsure(given["request_id"], given["account_id"], each.topic_sha256, time.time()))
            self.counts["unsure"] += 1

    def _errand_runner(self) -> None:
        chance = random.Random(f"errands {self._seed}")
        with ContentGenerationClient(self._target, timeout=_CALL_LIMIT) as client:
            while errand := self._errands.next():
                task_id, what = errand
                if what == "retry":
                    self._retry(client, chance, task_id)
                else:
                    self._cancel(client, chance, task_id, force=what == "force")

    def _cancel(self, client: ContentGenerationClient, chance: random.Random, task_id: str, *, force: bool) -> None:
        def call() -> bool:
            try:
                return client.cancel_task(task_id, force)
            except InvalidStateException:
                return False

        if self._repeated(call, chance, "cancel", patient=True):
            self._journal.append(Cancel(task_id, "cancelled", time.time()))
            self.counts["cancelled"] += 1

    def _retry(self, client: ContentGenerationClient, chance: random.Random, task_id: str) -> None:
        def call() -> bool:
            try:
                return client.retry_task(task_id)
            except InvalidStateException:
                return False

        if self._repeated(call, chance, "retry", patient=True):
            self.counts["retried"] += 1


@dataclass
class Errands:
    """What is to be done to tasks later, by time."""

    _heap: list[tuple[float, str, str]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def add(self, at: float, task_id: str, what: str) -> None:
        """`at` by the monotonic clock."""
        with self._changed:
            heapq.heappush(self._heap, (at, task_id, what))
            self._changed.notify()

    def next(self) -> tuple[str, str] | None:
        """Waits for the next one; None once closed."""
        with self._changed:
            while not self._closed:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[1:]
                self._changed.wait(wait)
        return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
