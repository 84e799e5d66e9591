"""The delivery loop: records how tries went, and begins those that are due, in one transaction a round.

Each try is a task of the event loop, so a receiver that hangs holds up nobody. A webhook may begin more tries as it
succeeds, and one while it fails. An account begins no more while it has more than its share of the free places under
way: so however many accounts have slow receivers, places are left for the next one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog

from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.webhook import (
    FIRST_CONCURRENT_TRIES,
    MAX_CONCURRENT_TRIES,
    MAX_PENDING,
    DeliveryAttempt,
    Response,
)
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.webhooks import work
from scheduler_svc.webhooks.work import Tried, WebhookInterest

MAX_TRIES = 1_024
"""Tries of one replica under way."""
_SHARE = 1 / 8
"""Of the free places: what an account may have under way, and what may begin in a round."""


class WebhookTries:
    """Counts the tries under way. Lives on the event loop."""

    def __init__(self) -> None:
        self._of_webhook: Counter[int] = Counter()
        self._of_account: Counter[int] = Counter()
        self._account: dict[int, int] = {}
        self._most: dict[int, int] = {}

    def begin(self, attempt: DeliveryAttempt) -> None:
        self._account[attempt.webhook_id] = attempt.account_id
        self._of_webhook[attempt.webhook_id] += 1
        self._of_account[attempt.account_id] += 1

    def end(self, attempt: DeliveryAttempt) -> None:
        for counts, key in ((self._of_webhook, attempt.webhook_id), (self._of_account, attempt.account_id)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def record(self, attempt: DeliveryAttempt, *, delivered: bool) -> None:
        """Lets the webhook have more tries at a time after a success, and one after a failure."""
        most = self._most.get(attempt.webhook_id, FIRST_CONCURRENT_TRIES)
        self._most[attempt.webhook_id] = min(2 * most, MAX_CONCURRENT_TRIES) if delivered else 1

    @property
    def limit(self) -> int:
        """How many tries of all webhooks may begin in one round."""
        return math.ceil((MAX_TRIES - self._of_account.total()) * _SHARE)

    def free(self) -> dict[int, int]:
        """Returns how many tries each webhook may begin, if that is not `FIRST_CONCURRENT_TRIES`."""
        return {webhook_id: self._free(webhook_id, account_id) for webhook_id, account_id in self._account.items()}

    def _free(self, webhook_id: int, account_id: int) -> int:
        of_webhook = self._most.get(webhook_id, FIRST_CONCURRENT_TRIES) - self._of_webhook[webhook_id]
        return max(0, min(of_webhook, self.limit - self._of_account[account_id]))


READ_INTERVAL = 10.0
"""Seconds between two looks at the webhooks and at what is due: hints may be lost."""
BACKLOG_INTERVAL = 60.0
"""Seconds between two looks for webhooks for which too many deliveries wait."""
MIN_WAIT = 0.2
"""Seconds until the next round, if what is due is locked by another replica."""
CLOSE_TIMEOUT = 2.0
"""Seconds for tries under way when the replica stops. Another one repeats the others, once their claims expire."""

_log = structlog.get_logger(__name__)


async def check_backlogs(calls: Calls) -> float:
    """Marks webhooks for which too many deliveries wait: each replica does, and the first one finds them."""
    for webhook_id, backlogged in await calls.run(lambda tx: tx.deliveries.mark_backlogs(MAX_PENDING)):
        message = "too many deliveries of a webhook wait: no more are stored"
        _log.warning(message if backlogged else "a webhook has caught up", action="webhook", webhook_id=webhook_id)
    return BACKLOG_INTERVAL


class Sender(Protocol):
    """Tries deliveries, each once; raises nothing."""

    async def send(self, attempt: DeliveryAttempt) -> Response: ...
    async def close(self) -> None: ...


class DeliveryLoop:
    """Lives on the event loop. A Periodic repeats `run_once`."""

    def __init__(self, calls: Calls, interest: WebhookInterest, sender: Sender, metrics: Metrics | None = None) -> None:
        self._calls = calls
        self._metrics = metrics
        self._interest = interest
        self._sender = sender
        self.wake: Callable[[], None] = lambda: None
        """Makes the next round begin; set by whatever repeats them."""
        self.held: Callable[[], None] = lambda: None
        """Is called if something may be held for channels."""
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._tries = WebhookTries()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tried: list[Tried] = []

    def hint(self, *, changed: bool) -> None:
        """Takes note that there may be something to send; `changed`: also that webhooks have changed."""
        if changed:
            self._read_at = 0.0
        self.wake()
        if self._interest.of_channels:
            self.held()

    async def read(self) -> None:
        """Reads which events are wanted. Moves that are committed from then on store them."""
        async with self._reading:  # of two reads the later one holds
            self._read_at = time.monotonic() + READ_INTERVAL
            try:
                self._interest.replace(await self._calls.run(lambda tx: tx.webhooks.wanted()))
            except BaseException:
                self._read_at = 0.0
                raise

    async def run_once(self) -> float:
        """Does a round; returns the seconds until the next one."""
        if time.monotonic() >= self._read_at:
            await self.read()
        if not self._interest and not self._tried:
            return READ_INTERVAL
        tries, self._tried = self._tried, []
        try:
            next_round = await self._calls.run(work.next_round, tries, self._tries.free(), self._tries.limit)
        except Exception:
            self._tried = tries + self._tried
            raise
        for attempt in next_round.attempts:
            self._begin(attempt)
        if next_round.more:
            return 0.0
        return READ_INTERVAL if next_round.next_due is None else min(max(next_round.next_due, MIN_WAIT), READ_INTERVAL)

    def _begin(self, attempt: DeliveryAttempt) -> None:
        self._tries.begin(attempt)
        task = asyncio.create_task(self._try(attempt), name=f"delivery {attempt.delivery_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, attempt: DeliveryAttempt) -> None:
        try:
            response = await self._sender.send(attempt)
        finally:
            self._tries.end(attempt)
        self._tries.record(attempt, delivered=response.delivered)
        self._tried.append(Tried(attempt, response))
        if self._metrics:
            self._metrics.webhook_tries.labels("delivered" if response.delivered else "failed").inc()
        if not response.delivered:
            _log_failure(attempt, response)
        self.wake()

    async def close(self) -> None:
        """Waits a moment for the tries under way, and records how they went. Nothing may run a round meanwhile."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._sender.close()
        if self._tried:
            with suppress(StoreUnavailable):  # then they are repeated, as after a kill
                await self._calls.run(work.record, self._tried)


def _log_failure(attempt: DeliveryAttempt, response: Response) -> None:
    """Names no address, which may hold a secret."""
    _log.info(
        "a try to deliver to a webhook failed" if not response.gone else "a webhook's receiver is gone: deactivated",
        action="webhook",
        webhook_id=attempt.webhook_id,
        delivery_id=attempt.delivery_id,
        attempt=attempt.attempt_count,
        error=response.error,
    )
