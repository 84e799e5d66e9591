"""What has to be on disk before it counts: marks before a CLI starts, endings before they are reported.

Layer: inside session, over spool and folder.

Where the disk refuses (full, read-only), nothing is lost while the process lives: the ending is reported from memory,
and written again and again until it is on disk or acknowledged. Until a write succeeds, the worker takes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from structlog.typing import FilteringBoundLogger

from worker_svc.folder import StartedMarks
from worker_svc.session import wire
from worker_svc.session.leases import Lease
from worker_svc.session.outbox import PendingUpdate
from worker_svc.spool import Entry, Spool

RETRY_INTERVAL = 2.0
"""Seconds between two tries to write on a disk that refused."""
_PROBE = "probe"

_log: FilteringBoundLogger = structlog.get_logger()


class DurableJournal:
    """Marks and endings, and whether the disk takes them."""

    def __init__(self, spool: Spool, marks: StartedMarks, on_health: Callable[[], None]) -> None:
        self._spool = spool
        self._marks = marks
        self._on_health = on_health
        self._unwritten: dict[str, Entry] = {}
        self._retrying: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Whether the last write went through."""
        return self._retrying is None

    @property
    def all_written(self) -> bool:
        """Whether no ending waits in memory for a disk that refused it."""
        return not self._unwritten

    @property
    def spooled(self) -> list[str]:
        """The leases whose endings are on disk and not acknowledged, oldest first."""
        return self._spool.lease_ids

    def recover(self) -> list[PendingUpdate]:
        """The endings that an earlier process left; blocking, once. What can't be read is logged, and set aside."""
        updates = []
        for entry in self._spool.recover(lambda text: _log.error(text, action="spool.unreadable")):
            try:
                updates.append(wire.decode(entry.payload))
            except ValueError as error:
                _log.error(
                    "a spooled result is left out", action="spool.unreadable", lease_id=entry.lease_id, error=str(error)
                )
        for lease_id in (_PROBE, *(update.lease_id for update in updates)):
            self._marks.clear(lease_id)
        return updates

    def lost(self) -> list[str]:
        """Leases whose CLI an earlier process had started, and that left nothing."""
        return sorted(self._marks.left)

    def forget_lost(self, lease_ids: list[str]) -> None:
        """The scheduler knows of them."""
        for lease_id in lease_ids:
            self._marks.clear(lease_id)

    async def mark(self, lease: Lease) -> None:
        """Leaves a durable mark that the lease's CLI may be started. Raises OSError where the disk refuses."""
        try:
            await self._marks.put(lease.lease_id)
        except OSError as error:
            self._refused(error)
            raise

    def unmark(self, lease: Lease) -> None:
        """Nothing of the lease's run lives, and its ending, if it has one, is kept."""
        self._marks.clear(lease.lease_id)

    async def keep(self, lease: Lease, ending: PendingUpdate) -> None:
        """Returns once the ending is on disk, or the disk has refused it: then it is kept in memory, and says so."""
        entry = Entry(ending.lease_id, wire.encode(ending))
        try:
            await self._spool.keep(entry)
        except OSError as error:
            self._unwritten[ending.lease_id] = entry
            _log.error(
                "a result cannot be spooled: it is kept in memory and written again until it is acknowledged",
                action="spool.refused",
                error=str(error),
                **lease.log_keys,
            )
            self._refused(error)

    def forget(self, lease_id: str) -> None:
        """Its ending is acknowledged."""
        self._unwritten.pop(lease_id, None)
        self._spool.forget(lease_id)

    async def close(self) -> None:
        """Returns when no write is under way."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)
        await self._marks.close()
        await self._spool.close()

    def _refused(self, error: OSError) -> None:
        if self._retrying is None:
            _log.error("the data folder can't be written: no task is taken", action="disk.refused", error=str(error))
            self._retrying = asyncio.create_task(self._retry())
            self._on_health()

    async def _retry(self) -> None:
        while not await self._writes_again():  # noqa: ASYNC110 - a disk tells nobody that it has room again
            await asyncio.sleep(RETRY_INTERVAL)
        _log.info("the data folder can be written again", action="disk.recovered")
        self._retrying = None
        self._on_health()

    async def _writes_again(self) -> bool:
        try:
            for entry in list(self._unwritten.values()):
                await self._spool.keep(entry)
                if self._unwritten.pop(entry.lease_id, None) is None:
                    self._spool.forget(entry.lease_id)  # it was acknowledged meanwhile
            await self._marks.put(_PROBE)
        except OSError:
            return False
        self._marks.clear(_PROBE)
        return True
