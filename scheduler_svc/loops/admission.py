"""The admission loop: gives tags to tasks that wait behind their account's window, one account at a time.

Commits wake it: a lease of an account with a limit ended, an account's tasks were submitted or cancelled, or a minute
has passed since attempts of an account with a start quota began. A periodic scan of the index finds what was missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import structlog

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.dispatch.admission import scan, settle
from scheduler_svc.application.signals import CommitSignals
from scheduler_svc.domain.errors import LockTimeout, StoreUnavailable
from scheduler_svc.loops.periodic import Periodic
from scheduler_svc.loops.supervision import Supervision

SCAN_INTERVAL = 10.0
RETRY_INTERVAL = 0.5
"""Seconds until an account that another session has locked is retried."""

_log = structlog.get_logger(__name__)


class Admission(Periodic):
    """Settles each account in a transaction of its own."""

    def __init__(self, calls: Calls, supervision: Supervision | None = None) -> None:
        super().__init__("admission", self._settle_requested, supervision)
        self._calls = calls
        self._requested: set[int] = set()
        self._to_retry: set[int] = set()
        self._later: dict[int, float] = {}
        self._limited: frozenset[int] = frozenset()
        self._scan_at = 0.0
        self._scanned = 0

    def on_commit(self, signals: CommitSignals) -> None:
        """Takes the signals of a transaction, of this replica or another one."""
        if signals.limits:
            self.rescan()
        if signals.admit_later:
            now = asyncio.get_running_loop().time()
            self._later |= {account_id: now + seconds for account_id, seconds in signals.admit_later.items()}
            self.wake()
        self.request(signals.admit | (signals.released & self._limited))

    def request(self, accounts: AbstractSet[int]) -> None:
        """Settles these accounts soon."""
        if accounts:
            self._requested |= accounts
            self.wake()

    def rescan(self) -> None:
        """Scans at once: signals may have been missed."""
        self._scan_at = 0.0
        self.wake()

    async def settle(self, accounts: Iterable[int]) -> None:
        """Settles these accounts now.

        Those that another session has locked are retried; those that fail are found by the next scan.
        """
        for account_id in accounts:
            try:
                await self._calls.run(settle, account_id)
            except LockTimeout:
                self._to_retry.add(account_id)
            except StoreUnavailable:
                return
            except Exception:  # noqa: BLE001 - a defect with one account must not stop the others
                _log.exception("an account's tasks could not be admitted", action="admission", account_id=account_id)

    async def _settle_requested(self) -> float:
        now = asyncio.get_running_loop().time()
        if now >= self._scan_at:
            self._scan_at = now + SCAN_INTERVAL
            found = await self._calls.run(scan, self._scanned)
            self._limited = found.limited
            self._requested.update(found.waiting, found.reopened)
            self._scanned = found.waiting[-1] if found.more else 0
        due = {account_id for account_id, time in self._later.items() if time <= now}
        accounts, self._requested, self._to_retry = self._requested | self._to_retry | due, set(), set()
        for account_id in accounts:
            self._later.pop(account_id, None)
        await self.settle(sorted(accounts))
        next_scan = min([self._scan_at, *self._later.values()])
        until_scan = max(0.0, next_scan - asyncio.get_running_loop().time())
        return min(RETRY_INTERVAL, until_scan) if self._to_retry else until_scan
