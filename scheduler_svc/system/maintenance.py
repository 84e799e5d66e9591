"""Maintenance: a time in which no new tasks are taken. All schedulers read it from the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contentgen.v1 import system_service_pb2 as pb
from scheduler_svc.domain.errors import UnderMaintenance
from scheduler_svc.domain.system import Maintenance
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.loops import Run
from scheduler_svc.runtime.validation import message_of

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx

READ_INTERVAL = 2.0
"""Seconds until a scheduler reads it again, if it has missed the signal of a change."""
MAX_RETRY_AFTER = 30.0
"""Seconds after which callers are asked to submit again, at most: it may be over earlier than was said."""


@dataclass
class MaintenanceMode:
    """Lives on the event loop."""

    calls: Calls
    now: Callable[[], float]
    """Returns Unix time, by the database's clock."""
    _stored: Maintenance | None = None

    @property
    def current(self) -> Maintenance | None:
        return self._stored if self._left > 0 else None

    @property
    def _left(self) -> float:
        return self._stored.until_time.timestamp() - self.now() if self._stored else 0.0

    def message(self) -> pb.Maintenance | None:
        return self.current and message_of(pb.Maintenance, self.current)

    def check(self) -> None:
        """Raises UnderMaintenance."""
        if maintenance := self.current:
            raise UnderMaintenance(*maintenance, retry_after=min(max(self._left, 0.0), MAX_RETRY_AFTER))

    def suspends(self, run: Run) -> Run:
        """Returns `run`, but for times of maintenance."""

        async def run_once() -> float | None:
            return READ_INTERVAL if self.current else await run()

        return run_once

    async def run_once(self) -> float:
        """Reads what holds; returns the seconds until the next time."""
        self._stored = await self.calls.run(lambda tx: tx.system.maintenance())
        return READ_INTERVAL

    async def set(self, maintenance: Maintenance | None) -> None:
        """Turns it on, or off if None."""
        await self.calls.run(_store, maintenance)
        await self.run_once()


def _store(tx: Tx, maintenance: Maintenance | None) -> None:
    tx.system.set_maintenance(maintenance)
    tx.signals.maintenance = True
