"""The admission loop: lets tasks in that wait behind their account's window, account by account.

It is woken by what this replica committed: a lease of an account with a limit ended, tasks of one came, some were
cancelled; and when a minute is over since attempts of an account with a quota of starts began. What was missed is found
by a look at the index of what waits, each few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import structlog

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.dispatch.admission import look, settle
from scheduler_svc.application.signals import Signals
from scheduler_svc.domain.errors import LockTimeout, StoreUnavailable
from scheduler_svc.loops.periodic import Periodic
from scheduler_svc.loops.supervision import Supervision

LOOK_INTERVAL = 10.0
RETRY = 0.5
"""Seconds after which an account is tried again that somebody else held."""

_log = structlog.get_logger(__name__)


class Admission:
    """Lives on the event loop; each account is settled in a transaction of its own."""

    def __init__(self, calls: Calls, supervision: Supervision | None = None) -> None:
        self._calls = calls
        self._asked: set[int] = set()
        self._asked_again: set[int] = set()
        self._later: dict[int, float] = {}
        self._limited: frozenset[int] = frozenset()
        self._looks_at = 0.0
        self._seen = 0
        self._loop = Periodic("admission", self.run_once, supervision)

    def start(self) -> None:
        """Looks at once."""
        self._loop.start()

    async def stop(self) -> None:
        """Ends after the run that is under way."""
        await self._loop.stop()

    def told(self, signals: Signals) -> None:
        """A transaction is committed, here or elsewhere."""
        if signals.limits:
            self.look()
        if signals.later:
            now = asyncio.get_running_loop().time()
            self._later |= {account_id: now + seconds for account_id, seconds in signals.later.items()}
            self._loop.wake()
        self.ask(signals.admit | (signals.released & self._limited))

    def ask(self, accounts: AbstractSet[int]) -> None:
        """Some of these accounts' tasks may be let in."""
        if accounts:
            self._asked |= accounts
            self._loop.wake()

    def look(self) -> None:
        """Something may have been missed."""
        self._looks_at = 0.0
        self._loop.wake()

    async def settle(self, accounts: Iterable[int]) -> None:
        """Lets in what may run of these accounts. One that somebody else holds is tried again; what fails is found by
        the next look.
        """
        for account_id in accounts:
            try:
                await self._calls.run(settle, account_id)
            except LockTimeout:
                self._asked_again.add(account_id)
            except StoreUnavailable:
                return
            except Exception:  # noqa: BLE001 - a defect of ours with one account must not stop the others
                _log.exception("an account's tasks could not be let in", action="admission", account_id=account_id)

    async def run_once(self) -> float:
        """Settles the accounts that were asked for; returns the seconds until the next look."""
        now = asyncio.get_running_loop().time()
        if now >= self._looks_at:
            self._looks_at = now + LOOK_INTERVAL
            found = await self._calls.run(look, self._seen)
            self._limited = found.limited
            self._asked.update(found.waiting, found.ajar)
            self._seen = found.waiting[-1] if found.more else 0
        due = {account_id for account_id, time in self._later.items() if time <= now}
        asked, self._asked, self._asked_again = self._asked | self._asked_again | due, set(), set()
        for account_id in asked:
            self._later.pop(account_id, None)
        await self.settle(sorted(asked))
        next_look = min([self._looks_at, *self._later.values()])
        until_look = max(0.0, next_look - asyncio.get_running_loop().time())
        return min(RETRY, until_look) if self._asked_again else until_look
