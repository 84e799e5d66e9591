"""The dispatcher and the admission loop, one of each a replica.

The dispatcher claims tasks for all of its workers at once, if they have capacity and work may wait. A hint says that
work may wait: a submit of this replica, a NOTIFY of another one, or a timer in case one was lost. Capacity without a
hint causes no query, so idle workers cost nothing.

The admission loop gives tags to tasks that wait behind their account's window, one account at a time. Commits wake it:
a lease of an account with a limit ended, an account's tasks were submitted or cancelled, or a minute has passed since
attempts of an account with a start quota began. A periodic scan of the index finds what was missed. Which accounts have
a limit is also only a hint: a replica that has not heard of a new one admits later, and never too much.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import structlog

from scheduler_svc.config import Settings
from scheduler_svc.dispatch.admission import scan, settle
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.dispatch.streams import ReconnectOrder, Streams
from scheduler_svc.dispatch.work import InlineClaim, SessionCapacity, claim
from scheduler_svc.domain.dispatch import URGENT_REFILL_LIMIT
from scheduler_svc.domain.errors import LockTimeout, StatementTimeout, StoreUnavailable
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Grant
from scheduler_svc.domain.system import LaneState
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.loops import Periodic, Supervision, TaskService
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.runtime.tracing import NO_TRACER, Tracer

if TYPE_CHECKING:
    from scheduler_svc.transactions import Database, Tx


MAX_CLAIM = URGENT_REFILL_LIMIT
MIN_SESSIONS = 32
"""Sessions that a claim is for while little waits: those with the most capacity. A full claim is followed by a larger
one."""
BUSY_INTERVAL = 0.2
"""Seconds until a session whose row another transaction holds is retried."""
HINT_INTERVAL = 10.0
"""Seconds after which a hint is assumed."""
RETRY_INTERVAL = 0.5
"""Seconds until the next claim after one that could not get a lock."""


_Outcome = tuple[int, Claimed | Exception]
"""The last hint before the claim, and the claim's result."""


class Dispatcher(TaskService):
    """Lives on the event loop; its claims run on a thread of their own, or inline on another one."""

    def __init__(
        self,
        database: Database,
        streams: Streams,
        settings: Settings,
        on_undelivered: Callable[[Sequence[LeaseRef]], None],
        admission: Admission,
        *,
        supervision: Supervision | None = None,
        metrics: Metrics | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """`on_undelivered` gets leases whose stream closed before they were sent.

        `admission` refills the windows that a claim has brought low. If one is nearly empty, the next claim waits: it
        would take tasks of other accounts, or of a lower priority, before their turn.
        """
        super().__init__("dispatcher", supervision)
        self._database = database
        self._streams = streams
        self._settings = settings
        self._on_undelivered = on_undelivered
        self._admission = admission
        self._tracer = tracer
        self._refilling: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="lane-claim")
        self._numbers = itertools.count(1)
        self._last_hint = self._seen_hint = 0
        self._may_have_work = True
        self._exhausted: set[tuple[int, ...]] = set()
        """The worker selectors for which a claim since the last hint has found no more."""
        self._stale = True
        """Whether there may be other worker selectors than the streams know."""
        self._idle = asyncio.Event()
        """Set while no claim is under way."""
        self._idle.set()
        self._defect: Exception | None = None
        self._busy_since = 0.0
        self._locked_out_since: float | None = None
        """When the first of the claims began that were all locked out since."""
        self._quiescing = False
        self._sessions = MIN_SESSIONS
        """How many sessions the next claim is for."""
        self._metrics = metrics
        self._lane_metrics = metrics.lane("claims") if metrics else None

    async def quiesce(self, within: float) -> None:
        """Stops claiming; returns once the claim under way is handed over, or after `within` seconds."""
        self._quiescing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._idle.wait()

    async def stop(self) -> None:
        """Ends after its own claim that is under way; further calls do nothing."""
        await super().stop()
        if self._refilling is not None:
            await self._refilling
        self._executor.shutdown(wait=False)

    def hint(self) -> None:
        """Claims soon: there may be work."""
        self.note_hint()
        self.wake()

    def note_hint(self) -> None:
        """Does as `hint`, on any thread; a call of `wake` on the event loop must follow."""
        self._last_hint = next(self._numbers)

    def wake(self) -> None:
        """Claims soon if there was a hint since the last claim."""
        if self._last_hint != self._seen_hint:
            self._may_have_work = True
            self._wake.set()

    def capacity_added(self) -> None:
        """Claims soon if there may be work: a worker has free slots."""
        if self._may_have_work:
            self._wake.set()

    def worker_matched(self) -> None:
        """Claims soon for a new worker with labels: tasks may have waited for one, without a tag."""
        self._admission.rescan()
        self.hint()

    def selectors_changed(self) -> None:
        """Reads the worker selectors soon, and claims."""
        self._stale = True
        self.hint()

    def state(self) -> LaneState:
        if self._locked_out_since is not None:
            return LaneState(time.monotonic() - self._locked_out_since, math.inf, waiting=1, set_aside=1)
        age = 0.0 if self._idle.is_set() else time.monotonic() - self._busy_since
        return LaneState(age, math.inf)

    async def _serve(self) -> None:
        """Claims while there may be work, until `stop`. Raises a claim's exception if it is a defect."""
        self.hint()
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(HINT_INTERVAL):
                    await self._wake.wait()
            except TimeoutError:
                self.selectors_changed()
            self._wake.clear()
            if self._stale:
                await self._read_selectors()
            while not self._stopping.is_set() and self._may_have_work and await self.run_once():
                pass
            defect, self._defect = self._defect, None
            if defect:
                raise defect

    async def _read_selectors(self) -> None:
        self._stale = False
        try:
            read = partial(self._database.run, lambda tx: tx.selectors.all())
            self._streams.route(await asyncio.get_running_loop().run_in_executor(self._executor, read))
        except (StoreUnavailable, LockTimeout, StatementTimeout):
            self._stale = True  # the next hint reads them

    async def run_once(self) -> bool:
        """Claims once if there is capacity; returns whether another claim may find more."""
        selectors, capacities = self._begin()
        if capacities:
            claim_now = partial(self._claim, capacities, selectors)
            outcome = await asyncio.get_running_loop().run_in_executor(self._executor, claim_now)
            self._end(capacities, selectors, outcome)
            return self._may_have_work
        return False

    def inline_claim(self) -> InlineClaim | None:
        """Returns the next claim, for a thread that is about to commit new work; None if there can't be one now.

        On an idle machine, the switch to the dispatcher's own thread and a commit of its own are a good part of a
        claim's latency.
        """
        self._exhausted.clear()
        loop, (selectors, capacities) = asyncio.get_running_loop(), self._begin()
        if not capacities:
            return None
        hints = self._last_hint
        return InlineClaim(
            lambda tx: self._claim_in(tx, capacities, selectors),
            lambda claimed: _call_soon(loop, self._end, capacities, selectors, (hints, claimed)),
            lambda: _call_soon(loop, self._end, capacities, selectors, self._claim(capacities, selectors)),
        )

    def _begin(self) -> tuple[tuple[int, ...], list[SessionCapacity]]:
        """Returns the next claim's worker selectors and the sessions that match these.

        There are no sessions if none has capacity, or while another claim is under way.
        """
        if self._quiescing or self._stopping.is_set() or self._task is None or not self._idle.is_set():
            return (), []
        if self._last_hint != self._seen_hint:
            self._exhausted.clear()
        now = asyncio.get_running_loop().time()
        for selectors in self._left():
            if capacities := self._streams.capacities(now, self._sessions, selectors):
                self._occupy()
                return selectors, capacities
        self._locked_out_since = None
        return (), []

    def _left(self) -> list[tuple[int, ...]]:
        """Returns the worker selectors for which there may be work."""
        return [selectors for selectors in self._streams.routes() if selectors not in self._exhausted]

    def _occupy(self) -> None:
        """Lets no claim begin until `_idle` is set again."""
        self._idle.clear()
        self._busy_since = time.monotonic()

    def _claim(self, capacities: Sequence[SessionCapacity], selectors: tuple[int, ...]) -> _Outcome:
        hints = self._last_hint
        try:
            return hints, self._database.run(lambda tx: self._claim_in(tx, capacities, selectors))
        except Exception as error:  # noqa: BLE001 - `_end` sorts them, on the event loop
            return hints, error

    def _claim_in(self, tx: Tx, capacities: Sequence[SessionCapacity], selectors: tuple[int, ...]) -> Claimed:
        begun = time.monotonic()
        claimed = claim(tx, capacities, MAX_CLAIM, self._settings.lease_ttl, selectors)
        if self._metrics and self._lane_metrics and claimed.grants:
            self._metrics.leased(claimed.grants)
            self._lane_metrics.group(len(claimed.grants), time.monotonic() - begun)
        return claimed

    def _end(self, capacities: Sequence[SessionCapacity], selectors: tuple[int, ...], outcome: _Outcome) -> None:
        self._seen_hint, claimed = outcome
        self._idle.set()
        locked_out = isinstance(claimed, Claimed) and claimed.locked_out
        self._locked_out_since = (self._locked_out_since or self._busy_since) if locked_out else None
        match claimed:
            case Claimed(locked_out=True):
                self._retry()
            case Claimed():
                self._send_grants(claimed, {capacity.worker_id: capacity for capacity in capacities})
                if not claimed.full:
                    self._exhausted.add(selectors)
                self._may_have_work = self._last_hint != self._seen_hint or bool(self._left())
                self._sessions = min(4 * self._sessions, MAX_CLAIM) if claimed.full else MIN_SESSIONS
                self._admission.request(claimed.short)
                if claimed.urgent:
                    self._occupy()
                    self._refilling = asyncio.create_task(self._refill(claimed.urgent), name="refill")
                elif self._may_have_work:
                    self._wake.set()
            case LockTimeout() | StatementTimeout():  # nothing was claimed
                self._retry()
            case StoreUnavailable():
                self._reconnect(capacities)  # the timer, or the listener once it is back, will hint again
                self._may_have_work = False
            case error:
                self._may_have_work = False
                self._defect = error
                self._wake.set()

    def _retry(self) -> None:
        self._may_have_work = False
        asyncio.get_running_loop().call_later(RETRY_INTERVAL, self.hint)

    async def _refill(self, accounts: frozenset[int]) -> None:
        """Lets no claim begin before these accounts' windows are refilled."""
        try:
            await self._admission.settle(accounts)
        finally:
            self._idle.set()
            if self._may_have_work:
                self._wake.set()

    def _reconnect(self, capacities: Sequence[SessionCapacity]) -> None:
        """The claim may be committed all the same: each worker's next hello releases the leases that it never got."""
        for session in capacities:
            if stream := self._streams.get(session.session_key):
                stream.send(ReconnectOrder())

    def _send_grants(self, claimed: Claimed, sessions: dict[str, SessionCapacity]) -> None:
        by_worker: dict[str, list[Grant]] = {}
        for grant in claimed.grants:
            by_worker.setdefault(grant.worker_id, []).append(grant)
        for worker_id, grants in by_worker.items():
            stream = self._streams.get(sessions[worker_id].session_key)
            if stream is None:
                self._on_undelivered([grant.ref for grant in grants])
            else:
                stream.assign(sessions[worker_id].heartbeat_number, self._tracer.dispatched(grants))
        for session_key in claimed.closed:
            if stream := self._streams.get(session_key):
                stream.close_capacity()
        self._pause_sessions(claimed.busy)

    def _pause_sessions(self, busy: frozenset[int]) -> None:
        """Other sessions may have what these could not be given; they are retried in a moment."""
        loop = asyncio.get_running_loop()
        for session_key in busy:
            if stream := self._streams.get(session_key):
                stream.busy_until = loop.time() + BUSY_INTERVAL
        if busy:
            loop.call_later(BUSY_INTERVAL, self.capacity_added)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the event loop is closed: the workers' next hellos release the leases
        loop.call_soon_threadsafe(call, *arguments)


SCAN_INTERVAL = 10.0
ADMISSION_RETRY_INTERVAL = 0.5
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
            page = await self._calls.run(scan, self._scanned)
            self._limited = page.limited
            self._requested.update(page.waiting, page.reopened)
            self._scanned = page.waiting[-1] if page.more else 0
        due = {account_id for account_id, time in self._later.items() if time <= now}
        accounts, self._requested, self._to_retry = self._requested | self._to_retry | due, set(), set()
        for account_id in accounts:
            self._later.pop(account_id, None)
        await self.settle(sorted(accounts))
        next_scan = min([self._scan_at, *self._later.values()])
        until_scan = max(0.0, next_scan - asyncio.get_running_loop().time())
        return min(ADMISSION_RETRY_INTERVAL, until_scan) if self._to_retry else until_scan
