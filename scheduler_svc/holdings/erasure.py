"""The erasure of an account, as far as one call comes: batches with pauses between them, for a bounded time.

What is left is in the database, so whatever ends a call, the next one goes on, on any replica.
"""

from __future__ import annotations

import time
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import structlog

from scheduler_svc.assets.objects import Objects
from scheduler_svc.assets.work import delete_retired
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import KEPT_UNNAMED
from scheduler_svc.domain.task import TaskFilter
from scheduler_svc.holdings import work
from scheduler_svc.runtime.calls import Calls, Pacing
from scheduler_svc.tasks.bulk import Bulk

MAX_SECONDS = 5.0
"""After which a call begins no further batch."""
AUDIT_TIME = 1.0
"""Seconds for audit events that wait for their group."""
SUBMIT_TIMEOUT = 40.0
"""Seconds for submits that had read an account before it was deactivated, and for whatever looks like one."""
CHECK_INTERVAL = 0.1
"""Seconds between two looks whether workers have let go of attempts."""

_log = structlog.get_logger(__name__)


async def submits_ended(calls: Calls) -> None:
    """Returns once no submit can commit any more that had read accounts as they were before this call."""
    since = await calls.run(lambda tx: tx.now)
    until = time.monotonic() + SUBMIT_TIMEOUT
    while await calls.run(lambda tx: tx.holdings.submits_under_way(since)):
        if time.monotonic() >= until:
            return
        await sleep(CHECK_INTERVAL)


class Erasure:
    def __init__(self, calls: Calls, asset_calls: Calls, bulk: Bulk, objects: Objects) -> None:
        self._calls = calls
        self._asset_calls = asset_calls
        self._bulk = bulk
        self._objects = objects

    async def count(self, account_id: int) -> dict[str, int]:
        """Returns how many rows of each kind the account has. Raises NotFound."""
        return await self._calls.run(work.count, account_id)

    async def erase(self, account_id: int) -> dict[str, int]:
        """Erases for a while; returns what is left of each kind. Raises NotFound, AssetStoreUnavailable."""
        until = time.monotonic() + MAX_SECONDS
        if await self._calls.run(work.begin, account_id):
            await submits_ended(self._calls)
            await sleep(AUDIT_TIME)
        pacing = Pacing()
        for step in self._steps(account_id):
            while await pacing.run(step):
                if time.monotonic() >= until:
                    return await self._calls.run(work.left, account_id)
        left = await self._calls.run(work.left, account_id)
        if not left:
            _log.info("an account is erased", action="erase", account_id=account_id)
        return left

    def _steps(self, account_id: int) -> Iterator[Callable[[], Awaitable[object]]]:
        """Yields what to repeat until it has done nothing; then the next one begins."""
        yield partial(self._calls.run, work.forget_imports, account_id)
        yield partial(self._end_tasks, account_id)
        yield partial(self._calls.run, work.delete_contents, account_id)
        yield partial(self._calls.run, work.retire_assets, account_id)
        yield partial(self._asset_calls.run, delete_retired, self._objects.store, KEPT_UNNAMED)
        yield partial(self._calls.run, work.disown, account_id)
        yield partial(self._calls.run, work.delete_rest, account_id)

    async def _end_tasks(self, account_id: int) -> bool:
        """Cancels some tasks and deletes some that have ended; returns whether any are left."""
        every = TaskFilter(Scope.of(account_id))
        cancelled = await self._bulk.cancel(every, force=True, limit=work.MAX_BATCH)
        if not await self._calls.run(work.delete_tasks, account_id) and not cancelled.changed:
            await sleep(CHECK_INTERVAL)
        return await self._calls.run(lambda tx: tx.holdings.has_tasks(account_id))
