"""The delivery loop: records how tries went, and begins those that are due, in one transaction a round.

Each try is a task of the event loop, so a receiver that hangs holds up nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.webhooks import deliveries
from scheduler_svc.application.webhooks.deliveries import Tried
from scheduler_svc.application.webhooks.interest import WebhookInterest
from scheduler_svc.application.webhooks.webhooks import read_interest
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.webhook import DeliveryAttempt, Response
from scheduler_svc.loops.recovery import Run
from scheduler_svc.loops.webhook_tries import WebhookTries
from scheduler_svc.metrics import Metrics

READ_INTERVAL = 10.0
"""Seconds between two looks at the webhooks and at what is due: hints may be lost."""
BACKLOG_INTERVAL = 60.0
"""Seconds between two looks for webhooks for which too many deliveries wait."""
MIN_WAIT = 0.2
"""Seconds until the next round, if what is due is locked by another replica."""
CLOSE_TIMEOUT = 2.0
"""Seconds for tries under way when the replica stops. Another one repeats the others, once their claims expire."""

_log = structlog.get_logger(__name__)


class Sender(Protocol):
    """See `scheduler_svc/webhooks/sender.py`."""

    async def send(self, attempt: DeliveryAttempt) -> Response:
        """Tries once. Returns within ten seconds, and raises nothing."""
        ...

    async def close(self) -> None: ...


def backlog_check(calls: Calls) -> Run:
    """Marks webhooks for which too many deliveries wait: each replica does, and the first one finds them."""

    async def run_once() -> float:
        for webhook_id, backlogged in await calls.run(deliveries.mark_backlogs):
            said = (
                "too many deliveries of a webhook wait: no more are stored" if backlogged else "a webhook has caught up"
            )
            _log.warning(said, action="webhook", webhook_id=webhook_id)
        return BACKLOG_INTERVAL

    return run_once


class DeliveryLoop:
    """Lives on the event loop. A Periodic repeats `run_once`."""

    def __init__(self, calls: Calls, interest: WebhookInterest, sender: Sender, metrics: Metrics | None = None) -> None:
        self._calls = calls
        self._metrics = metrics
        self._interest = interest
        self._sender = sender
        self._wake: Callable[[], None] = lambda: None
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._tries = WebhookTries()
        self._tasks: set[asyncio.Task[None]] = set()
        self._tried: list[Tried] = []

    def driven_by(self, wake: Callable[[], None]) -> None:
        """`wake` makes the next round begin."""
        self._wake = wake

    def hint(self, *, changed: bool) -> None:
        """Takes note that there may be something to send; `changed`: also that webhooks have changed."""
        if changed:
            self._read_at = 0.0
        self._wake()

    async def read(self) -> None:
        """Reads which events are wanted. Moves that are committed from then on store them."""
        async with self._reading:  # of two reads the later one holds
            self._read_at = time.monotonic() + READ_INTERVAL
            try:
                self._interest.replace(await self._calls.run(read_interest))
            except BaseException:
                self._read_at = 0.0
                raise

    async def run_once(self) -> float:
        """Does a round; returns the seconds until the next one."""
        if time.monotonic() >= self._read_at:
            await self.read()
        if not self._interest and not self._tried:
            return READ_INTERVAL
        tried, self._tried = self._tried, []
        try:
            found = await self._calls.run(deliveries.next_round, tried, self._tries.free(), self._tries.limit)
        except Exception:
            self._tried = tried + self._tried
            raise
        for attempt in found.attempts:
            self._begin(attempt)
        if found.more:
            return 0.0
        return READ_INTERVAL if found.next_due is None else min(max(found.next_due, MIN_WAIT), READ_INTERVAL)

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
        self._wake()

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
                await self._calls.run(deliveries.record, self._tried)


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
