"""The schedulers: their state, which each announces to the others, and figures of the whole database for metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.errors import NotFound, StoreUnavailable
from scheduler_svc.domain.system import Figures, LockHolder, OldestTransaction, ReplicaState, System
from scheduler_svc.domain.task import TaskStats
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.tasks.query import task_stats

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.transactions import Tx

LOCK_HOLDERS_TIMEOUT = 1.0
"""Seconds. Meanwhile set-aside items are retried twice, and wait for their lock some 50 ms each time."""
_LOCK_HOLDERS_INTERVAL = 0.02
LONG_LOCK_LIMIT = 5.0
"""Seconds for which a session may hold locks before it is reported, though nothing was seen to wait for them."""


@dataclass(frozen=True)
class SystemStatus:
    """Lives on the event loop."""

    calls: Calls
    own: Callable[[], ReplicaState]
    """Returns this replica's state, which is announced each heartbeat interval."""
    settings: Settings
    seen_for: Callable[[OldestTransaction], float]
    """Tells for how many seconds a transaction has been seen as the oldest."""

    async def run_once(self) -> float:
        """Announces this replica's state; returns the seconds until the next time."""
        await self.calls.run(lambda tx: tx.system.announce(self.own()))
        return self.settings.heartbeat_interval

    async def withdraw(self) -> None:
        """Removes this replica's state. If the database is away, the others notice its silence."""
        with suppress(StoreUnavailable):
            await self.calls.run(lambda tx: tx.system.withdraw(self.own().scheduler_id))

    async def get(self) -> System:
        system = await self.calls.run(self._read)
        if any(holder.waited_for for holder in system.lock_holders) or not any(
            lane.set_aside for replica in system.replicas for lane in replica.lanes.values()
        ):
            return system
        holders = await self.lock_holders()
        return replace(system, lock_holders=_merged(holders, system.lock_holders))

    def _read(self, tx: Tx) -> System:
        state = self.own()
        replicas = {replica.scheduler_id: replica for replica in tx.system.replicas()} | {state.scheduler_id: state}
        shown = tuple(replicas[name] for name in sorted(replicas))
        holders = _merged(_holders(tx), tx.system.long_locks(LONG_LOCK_LIMIT))
        oldest = tx.system.oldest_transaction()
        seen_for = self.seen_for(oldest) if oldest else 0.0
        return System(shown, holders, tx.system.database(), oldest, seen_for)

    async def lock_holders(self) -> Sequence[LockHolder]:
        """Returns the sessions that ours wait for, the longest transaction first; empty if none was seen in time."""
        until = time.monotonic() + LOCK_HOLDERS_TIMEOUT
        try:
            while not (holders := await self.calls.run(_holders)) and time.monotonic() < until:  # noqa: ASYNC110
                await asyncio.sleep(_LOCK_HOLDERS_INTERVAL)
        except StoreUnavailable:
            return ()
        return holders


def _merged(waited_for: Sequence[LockHolder], others: Sequence[LockHolder]) -> tuple[LockHolder, ...]:
    pids = {holder.pid for holder in waited_for}
    return (*waited_for, *(holder for holder in others if holder.pid not in pids))


def _holders(tx: Tx) -> tuple[LockHolder, ...]:
    """Returns the sessions that others wait for, and those that others do not even try to wait for."""
    return _merged(tx.system.lock_holders(), tx.system.advisory_locks(LONG_LOCK_LIMIT))


HEAD_LIMIT = 1_000
"""Tasks of each priority that are counted."""
BACKLOG_LIMIT = 10_000
"""Deliveries, entries of the publish pool in one state, and schedules that are counted."""


def read_figures(tx: Tx, account_ids: Sequence[int]) -> Figures:
    """Reads counts that every move keeps, the head of the queue, the leases, and other backlogs up to a limit: no more,
    however much waits. Of `account_ids`, those that exist are told of by themselves.
    """
    return Figures(
        task_stats(tx, ALL),
        tx.waiting.heads(HEAD_LIMIT),
        tx.leases.stages(),
        tx.system.backlogs(BACKLOG_LIMIT),
        {account_id: stats for account_id in account_ids if (stats := _of_account(tx, account_id))},
    )


def _of_account(tx: Tx, account_id: int) -> TaskStats | None:
    try:
        return task_stats(tx, Scope((account_id,)))
    except NotFound:
        return None
