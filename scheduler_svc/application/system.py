"""The schedulers themselves: each says how it stands, and each can tell of all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.system import LockHolder, ReplicaState, System

LOCK_HOLDERS_TIMEOUT = 1.0
"""Seconds: what is set aside is tried again twice in that time, and waits for its lock some 50 ms each time."""
_LOCK_HOLDERS_INTERVAL = 0.02
LONG_LOCK_LIMIT = 5.0
"""Seconds for which a session may hold locks before it is told of, though nothing was seen to wait for them."""


class SystemStatus:
    """Tells of this replica, and of the others. Lives on the event loop."""

    def __init__(self, calls: Calls, own: Callable[[], ReplicaState], interval: float) -> None:
        """`own` says how this replica stands; it is told to the others each `interval` seconds."""
        self._calls = calls
        self._own = own
        self._interval = interval

    async def run_once(self) -> float:
        """Tells the others how this one stands; returns the seconds until the next time."""
        await self._calls.run(lambda tx: tx.system.announce(self._own()))
        return self._interval

    async def withdraw(self) -> None:
        """This replica ends. Where the database is away, the others find out by its silence."""
        with suppress(StoreUnavailable):
            await self._calls.run(lambda tx: tx.system.withdraw(self._own().scheduler_id))

    async def get(self) -> System:
        """How all of it stands. Raises StoreUnavailable."""
        system = await self._calls.run(self._read)
        if any(it.waited_for for it in system.lock_holders) or not any(
            lane.set_aside for it in system.replicas for lane in it.lanes.values()
        ):
            return system
        found = await self.lock_holders()
        return System(system.replicas, _merged(found, system.lock_holders), system.database)

    def _read(self, tx: Tx) -> System:
        own = self._own()
        replicas = {it.scheduler_id: it for it in tx.system.replicas()} | {own.scheduler_id: own}
        shown = tuple(replicas[name] for name in sorted(replicas))
        holders = _merged(tx.system.lock_holders(), tx.system.long_locks(LONG_LOCK_LIMIT))
        return System(shown, holders, tx.system.database())

    async def lock_holders(self) -> list[LockHolder]:
        """The sessions that ours wait for, the longest transaction first; empty where none is seen in time."""
        until = time.monotonic() + LOCK_HOLDERS_TIMEOUT
        try:
            while not (found := await self._calls.run(_holders)) and time.monotonic() < until:  # noqa: ASYNC110
                await asyncio.sleep(_LOCK_HOLDERS_INTERVAL)
        except StoreUnavailable:
            return []
        return found


def _merged(waited_for: Sequence[LockHolder], others: Sequence[LockHolder]) -> tuple[LockHolder, ...]:
    """Each session once."""
    pids = {it.pid for it in waited_for}
    return (*waited_for, *(it for it in others if it.pid not in pids))


def _holders(tx: Tx) -> list[LockHolder]:
    return tx.system.lock_holders()
