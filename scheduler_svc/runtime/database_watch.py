"""What stops a replica without a wait or an error: its clock, a foreign transaction, a foreign advisory lock.

What is found is logged, and kept for metrics and GetSystem. So is a setting of PostgreSQL without which a crash loses
what was acknowledged. `DatabaseClock` follows the database's clock, for what must not depend on whose machine wrote it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from scheduler_svc.domain.clock import CLOCK_TOLERANCE, describe_offset, is_wrong, offset
from scheduler_svc.domain.system import LockHolder, OldestTransaction
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.health import Health, Reason

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class DatabaseClock:
    """The database's time, as a replica last read it. Between two reads it follows a clock that does not jump."""

    def __init__(self) -> None:
        self._own = time.time
        """This machine's clock, in Unix time."""
        self._ahead = 0.0
        """The database's time less the monotonic clock's."""
        self.offset: float | None = None
        """By how much our own clock is ahead, as `offset` has it; None until the first read."""

    def read(self, database: Callable[[], float]) -> None:
        """`database` asks the database for its time."""
        before, began = self._own(), time.monotonic()
        time_there = database()
        self.offset = offset(time_there, before, self._own())
        self._ahead = time_there - (began + time.monotonic()) / 2

    def now(self) -> float:
        """Returns Unix time, by the database's clock; by our own before the first read."""
        return self._own() if self.offset is None else time.monotonic() + self._ahead


CHECK_INTERVAL = 5.0
PATIENCE = 10.0
"""Seconds for which a transaction may be open, or a session hold a lock of ours, unsaid."""
REPEAT_INTERVAL = 60.0
"""Seconds after which the same is logged again."""

_log = structlog.get_logger(__name__)


class DatabaseWatch:
    """Lives on the event loop; a Periodic repeats `run_once`."""

    def __init__(self, calls: Calls, clock: DatabaseClock, health: Health) -> None:
        self._calls = calls
        self._clock = clock
        self._health = health
        self._oldest: OldestTransaction | None = None
        self._first_seen = 0.0
        self._logged: dict[object, float] = {}
        self.lock_holders: Sequence[LockHolder] = ()
        """Sessions that have held advisory locks of ours for `PATIENCE`."""

    async def run_once(self) -> float:
        """Returns the seconds until the next look."""
        oldest, self.lock_holders = await self._calls.run(self._read)
        if self._oldest is None or oldest is None or oldest.xid != self._oldest.xid:
            self._first_seen = time.monotonic()
        self._oldest = oldest
        self._health.set(Reason.CLOCK_WRONG, is_wrong(self._clock.offset or 0.0))
        self._log_findings()
        return CHECK_INTERVAL

    def _read(self, tx: Tx) -> tuple[OldestTransaction | None, Sequence[LockHolder]]:
        self._clock.read(tx.system.clock)
        return tx.system.oldest_transaction(), tx.system.advisory_locks(PATIENCE)

    @property
    def oldest_age(self) -> float:
        """Seconds for which the oldest transaction has been open; where that is hidden, since it was first seen."""
        if self._oldest is None:
            return 0.0
        return self.seen_for(self._oldest) if self._oldest.age is None else self._oldest.age

    def seen_for(self, transaction: OldestTransaction) -> float:
        """Returns the seconds since this transaction was first seen as the oldest, 0 if it was not."""
        same = self._oldest is not None and self._oldest.xid == transaction.xid
        return time.monotonic() - self._first_seen if same else 0.0

    def _log_findings(self) -> None:
        offset, oldest = self._clock.offset or 0.0, self._oldest
        present: dict[object, None] = {}
        if abs(offset) > CLOCK_TOLERANCE and self._due("clock", present):
            _log.warning(
                f"this machine's clock is {describe_offset(offset)}",
                action="clock",
                serves=not is_wrong(offset),
                offset_seconds=round(offset, 1),
            )
        if oldest and self.oldest_age > PATIENCE and self._due(oldest.xid, present):
            fields = {**oldest._asdict(), "age": round(self.oldest_age, 1)}
            _log.warning("a transaction is held open: watches may wait for it", action="transaction", **fields)
        for holder in self.lock_holders:
            if self._due(holder.pid, present):
                fields = {name: value for name, value in holder._asdict().items() if name != "waited_for"}
                _log.warning("a session of the database holds a lock of the schedulers", action="lock", **fields)
        self._logged = {key: logged_at for key, logged_at in self._logged.items() if key in present}

    def _due(self, key: object, present: dict[object, None]) -> bool:
        """Returns whether to log this, which is present, now."""
        present[key] = None
        now = time.monotonic()
        if now - self._logged.get(key, -REPEAT_INTERVAL) < REPEAT_INTERVAL:
            return False
        self._logged[key] = now
        return True


DURABILITY_CHECK_INTERVAL = 60.0


class DurabilityCheck:
    """Lives on the event loop."""

    def __init__(self, calls: Calls, metrics: Metrics | None) -> None:
        self._calls = calls
        self._metrics = metrics
        self._weakened: Sequence[str] = ()

    async def run_once(self) -> float:
        """Logs what has changed; returns the seconds until the next check."""
        weakened = await self._calls.run(lambda tx: tx.system.weakened_settings())
        for setting in weakened:
            if setting not in self._weakened:
                _log.warning(
                    "PostgreSQL has a setting off without which a crash loses acknowledged work",
                    action="durability",
                    setting=setting,
                )
        if self._weakened and not weakened:
            _log.info("no setting of durability is off any more", action="durability")
        self._weakened = weakened
        if self._metrics:
            self._metrics.sample_durability(weakened)
        return DURABILITY_CHECK_INTERVAL
