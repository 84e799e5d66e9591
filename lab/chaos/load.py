"""The clients of a campaign: a few threads with the product's own library, which journal what they were told.

A client repeats what is UNAVAILABLE under the same request id, as a careful caller would, or gives up and is unsure.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from contentgen import ContentGenerationClient, InvalidStateException, RequestError
from lab.chaos.evidence import Cancel, Submit, Unsure
from lab.chaos.journals import Appender
from lab.chaos.scheduled_calls import ScheduledCalls
from lab.chaos.wishes import ACCOUNTS, Wish, wish

_TRANSIENT = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
_CALL_TIMEOUT = 4.0
_PAUSE = 0.3
_BATCHES = 0.1
_LARGEST_BATCH = 8
_LAST_CALLS = 60.0
"""Seconds that calls may still be repeated when the load is told to end."""


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
        self._scheduled_calls = ScheduledCalls()
        self._threads = [
            threading.Thread(target=self._submitter, args=(n,), name=f"client-{n}") for n in range(clients)
        ]
        self._threads.append(threading.Thread(target=self._run_scheduled_calls, name="scheduled-calls"))
        self._account_ids: list[int] = []

    def make_accounts(self) -> Sequence[int]:
        """Their ids. Before anything is hurt, and before `start`."""
        with ContentGenerationClient(self._target) as client:
            for account in ACCOUNTS:
                created = client.create_account(account.name, account.cap, account.weight)
                self._account_ids.append(created["account_id"])
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
        self._scheduled_calls.close()
        for thread in self._threads:
            thread.join()

    def _submitter(self, number: int) -> None:
        chance = random.Random(f"client {self._seed} {number}")
        count = 0
        with ContentGenerationClient(self._target, timeout=_CALL_TIMEOUT) as client:
            while not self._over.wait(chance.expovariate(1 / self._pause)):
                if self._busy():
                    continue
                size = chance.randint(2, _LARGEST_BATCH) if chance.random() < _BATCHES else 1
                names = [f"{self._seed}-{number}-{count + n}" for n in range(size)]
                count += size
                self._submit(client, chance, [wish(chance, name, self._account_ids) for name in names])

    def _submit(self, client: ContentGenerationClient, chance: random.Random, wishes: Sequence[Wish]) -> None:
        def call() -> list[str]:
            if len(wishes) > 1:
                return client.submit_tasks(item.arguments for item in wishes)
            return [client.submit_task(**wishes[0].arguments)]

        task_ids = self._repeated(call, chance, "submit", patient=not wishes[0].gives_up)
        if task_ids is None:
            self._note_unsure(wishes)
        else:
            self._note_submits(wishes, task_ids)

    def _repeated(self, call: Callable[[], Any], chance: random.Random, name: str, *, patient: bool) -> Any:
        """Returns the answer; None where nobody knows what became of the call."""
        while True:
            try:
                return call()
            except RequestError as error:
                if not self._transient(error, name):
                    return None
            if not patient or time.monotonic() > self._give_up_at:
                return None
            time.sleep(chance.uniform(0, _PAUSE))

    def _transient(self, error: RequestError, name: str) -> bool:
        """Returns whether a caller may try again; what else an honest call is answered is noted as wrong."""
        self.counts[f"{name} {error.code}"] += 1
        if error.code in _TRANSIENT:
            return True
        self.wrong.append(f"a {name} was answered {error.code}: {error.message}")
        return False

    def _note_submits(self, wishes: Sequence[Wish], task_ids: Sequence[str]) -> None:
        for item, task_id in zip(wishes, task_ids, strict=True):
            arguments = item.arguments
            self._journal.append(
                Submit(
                    task_id,
                    arguments["request_id"],
                    arguments["account_id"],
                    item.topic_sha256,
                    time.time(),
                    arguments["priority"],
                )
            )
            self.counts["submitted"] += 1
            for delay, action in item.then:
                self._scheduled_calls.add(time.monotonic() + delay, task_id, action)

    def _note_unsure(self, wishes: Sequence[Wish]) -> None:
        for item in wishes:
            arguments = item.arguments
            self._journal.append(
                Unsure(arguments["request_id"], arguments["account_id"], item.topic_sha256, time.time())
            )
            self.counts["unsure"] += 1

    def _run_scheduled_calls(self) -> None:
        chance = random.Random(f"scheduled calls {self._seed}")
        with ContentGenerationClient(self._target, timeout=_CALL_TIMEOUT) as client:
            while due := self._scheduled_calls.next():
                task_id, action = due
                if action == "retry":
                    self._retry(client, chance, task_id)
                else:
                    self._cancel(client, chance, task_id, force=action == "force")

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
