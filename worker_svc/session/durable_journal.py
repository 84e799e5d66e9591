"""What has to be on disk first: a mark before a CLI starts, a result with its assets before it is reported.

If the disk fails (full, read-only), nothing is lost while the process lives: the result is reported from memory, and
the write is retried until it succeeds or the result is acknowledged. Until there is space for results again, the
worker takes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from worker_svc.asset_folder import AssetFolder
from worker_svc.folder import StartedMarks
from worker_svc.session import wire
from worker_svc.session.leases import Lease
from worker_svc.session.loop import Loop
from worker_svc.session.outbox import PendingUpdate
from worker_svc.spool import Entry, Spool

RETRY_INTERVAL = 2.0  # seconds between two attempts to write after a write failed
_PROBE = "probe"

_log = structlog.get_logger()


class DurableJournal:
    """Marks, spool and assets of one worker folder. `on_health` is called when `healthy` changes."""

    def __init__(self, spool: Spool, marks: StartedMarks, assets: AssetFolder, on_health: Callable[[], None]) -> None:
        self.spool = spool
        self.marks = marks
        self.assets = assets
        self._on_health = on_health
        self._unwritten: dict[str, Entry] = {}
        self._retry = Loop(self._retry_until_written)
        self.refusal = ""  # why the last write failed; empty if it succeeded

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded."""
        return not self.refusal

    @property
    def all_written(self) -> bool:
        """Whether no result waits in memory for the disk."""
        return not self._unwritten

    def recover(self) -> list[PendingUpdate]:
        """Returns the results that an earlier process left. Blocks; call it once. Logs what it cannot read."""
        updates = []
        for entry in self.spool.recover(lambda text: _log.error(text, action="spool.unreadable")):
            try:
                updates.append(wire.decode(entry.payload))
            except ValueError as error:
                lease_id, text = entry.lease_id, str(error)
                _log.error("a spooled result can't be read", action="spool.unreadable", lease_id=lease_id, error=text)
        for lease_id in (_PROBE, *(update.lease_id for update in updates)):
            self.marks.clear(lease_id)
        self.assets.sweep({update.lease_id for update in updates})
        return updates

    def lost(self) -> list[str]:
        """Returns the leases whose CLI an earlier process had started, and of which no result is left."""
        return sorted(self.marks.left)

    async def mark(self, lease: Lease) -> None:
        """Returns once a mark that the lease's CLI may start is durable. Raises OSError."""
        try:
            await self.marks.put(lease.lease_id)
        except OSError as error:
            self._write_failed(error)
            raise

    async def keep(self, lease: Lease, ending: PendingUpdate) -> None:
        """Returns once the result is on disk. If the write fails, logs that and keeps the result in memory."""
        entry = Entry(ending.lease_id, wire.encode(ending))
        try:
            await self.spool.keep(entry)
        except OSError as error:
            self._unwritten[ending.lease_id] = entry
            _log.error(
                "a result cannot be spooled: it stays in memory, and the write is retried until it is acknowledged",
                action="spool.refused",
                error=str(error),
                **lease.log_keys,
            )
            self._write_failed(error)

    def forget(self, lease_id: str) -> None:
        self._unwritten.pop(lease_id, None)
        self.spool.forget(lease_id)
        self.assets.forget(lease_id)

    async def close(self) -> None:
        await self._retry.stop()
        await self.marks.writer.close()
        await self.spool.writer.close()

    def _write_failed(self, error: OSError) -> None:
        if self.healthy:
            _log.error("the data folder can't be written: no task is taken", action="disk.refused", error=str(error))
            self.refusal = error.strerror or str(error)
            self._retry.start()
            self._on_health()

    async def _retry_until_written(self) -> None:
        while not await self._write_again():  # noqa: ASYNC110 - no event says that a disk has space again
            await asyncio.sleep(RETRY_INTERVAL)
        _log.info("the data folder can be written again", action="disk.recovered")
        self.refusal = ""
        self._on_health()

    async def _write_again(self) -> bool:
        try:
            for entry in list(self._unwritten.values()):
                await self.spool.keep(entry)
                if self._unwritten.pop(entry.lease_id, None) is None:
                    self.spool.forget(entry.lease_id)  # it was acknowledged meanwhile
            await self.marks.put(_PROBE)
            await self.spool.probe()
        except OSError:
            return False
        finally:
            self.marks.clear(_PROBE)
        return True
