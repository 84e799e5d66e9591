"""The change feed, one a replica: reads the moves of tasks and passes each change to the watchers that want it.

It reads when a signal says that something moved, and every few seconds in case a signal was lost. While nobody watches
(`WatchInterest`), moves are not signalled and cost nothing. A round is one or two queries, however many watchers there
are. Lives on the event loop; a `Periodic` runs it.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import structlog

from scheduler_svc.domain.account import ALL_ACCOUNTS, Scope
from scheduler_svc.domain.change import TaskChange, Watermark
from scheduler_svc.domain.errors import (
    ChangesDelayed,
    DomainError,
    ResumeTokenExpired,
    ShuttingDown,
    StoreUnavailable,
    TooManyWatchers,
    WatchOverrun,
)
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.watch import work
from scheduler_svc.watch.watchers import Overrun, RecentChanges, SendQueue, Watcher
from scheduler_svc.watch.work import MAX_SCAN, Selection

ANNOUNCE_INTERVAL = 10.0
"""Seconds between two announcements of a replica with watchers."""


class WatchInterest:
    """Each replica has one, which all of its threads read."""

    def __init__(self) -> None:
        self.here = False
        """Whether this replica has watchers."""
        self._elsewhere_until = 0.0

    @property
    def elsewhere(self) -> bool:
        """Whether another replica has announced watchers lately."""
        return time.monotonic() < self._elsewhere_until

    @property
    def anywhere(self) -> bool:
        return self.here or self.elsewhere

    def note_elsewhere(self) -> None:
        """Takes another replica's announcement."""
        self._elsewhere_until = time.monotonic() + 3 * ANNOUNCE_INTERVAL


MAX_WATCHERS = 5_000
"""Watchers that one replica takes."""
RELIEF_TIMEOUT = 0.5
"""Seconds that watchers with half a buffer hold the feed back, before they have to take what comes."""
RELIEF_INTERVAL = 5.0
"""Seconds for which none holds it back after that."""
MIN_INTERVAL = 0.02
"""Seconds between two rounds; they double, up to MAX_INTERVAL, while nothing more is settled."""
MAX_INTERVAL = 1.0
DELAY_TIMEOUT = 10.0
"""Seconds that changes wait for a transaction that stays open, before the watches that wait for them end."""
MAX_OFFERS = 2_000
"""Changes offered to selections before others on the event loop have a turn; that takes a millisecond or two."""

_log = structlog.get_logger(__name__)


class _Awaited(NamedTuple):
    """A number that is waited for since a moment of the loop's clock."""

    number: int
    since: float
    reached: asyncio.Future[None]


class ChangeFeed:
    """Everything up to `position` has been passed to the present watchers; all of it belongs to one history."""

    def __init__(self, calls: Calls, interest: WatchInterest) -> None:
        self._calls = calls
        self._interest = interest
        self._watermark = Watermark()
        self._position: int | None = None
        self._origin: str | None = None
        self._by_task: defaultdict[int, set[RecentChanges]] = defaultdict(set)
        self._by_account: defaultdict[int, set[RecentChanges]] = defaultdict(set)
        """Those of all accounts are under ALL_ACCOUNTS."""
        self._recent: dict[Selection, RecentChanges] = {}  # none is without watchers
        self.sends = SendQueue()
        self.sends.on_overrun = self._end_caller
        self._admitted = 0
        self._awaited: set[_Awaited] = set()
        self._delayed_since: float | None = None
        """The loop's time since which nothing was settled, though more was drawn."""
        self._delayed_to = 0
        """The number up to which all that is delayed has ended its watches."""
        self._page_lock = asyncio.Lock()
        self._relief = asyncio.Event()
        self._no_relief_before = 0.0
        self.wake: Callable[[], None] = lambda: None
        """Makes `run_once` run soon; set by whatever repeats it."""
        self._interval = MIN_INTERVAL
        self._not_before = self._announce_at = 0.0
        self._closed = False

    @property
    def watcher_count(self) -> int:
        return sum(len(recent.watchers) for recent in self._recent.values())

    @property
    def _watchers(self) -> Iterator[Watcher]:
        return (watcher for recent in self._recent.values() for watcher in recent.watchers)

    @property
    def position(self) -> int:
        """The number up to which changes were passed on. Raises ShuttingDown, StoreUnavailable."""
        if self._closed:
            raise ShuttingDown
        if self._position is None:
            raise StoreUnavailable
        return self._position

    def hint(self) -> None:
        """Runs soon: a task may have moved."""
        if self._interest.here:
            self.wake()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts a watch for the length of the block. Raises ShuttingDown, TooManyWatchers."""
        if self._closed:
            raise ShuttingDown
        if self._admitted >= MAX_WATCHERS:
            raise TooManyWatchers(MAX_WATCHERS)
        self._admitted += 1
        self._interest.here = True
        try:
            yield
        finally:
            self._admitted -= 1
            if not self._admitted:
                self._interest.here = False
                self._forget()  # else it would go stale

    async def reach(self, number: int) -> None:
        """Waits until everything up to `number`, which is drawn already, is settled and passed on.

        Call it within `admitted`. Raises ShuttingDown, StoreUnavailable, ChangesDelayed.
        """
        if self._position is not None and self._position >= number:
            return
        loop = asyncio.get_running_loop()
        awaited = _Awaited(number, loop.time(), loop.create_future())
        self._awaited.add(awaited)
        self.wake()
        try:
            await awaited.reached
        finally:
            self._awaited.discard(awaited)

    @asynccontextmanager
    async def joined(self, selection: Selection, accounts: Scope, origin: str) -> AsyncIterator[tuple[Watcher, int]]:
        """Adds a watcher; yields it, and the number after which it gets every change of the history `origin`.

        Raises ResumeTokenExpired, ShuttingDown, StoreUnavailable.
        """
        async with self._page_lock:  # not while a page is read for the present watchers
            start = self.position
            if self._origin != origin:
                raise ResumeTokenExpired
            recent = self._changes_of(selection, accounts)
            watcher = Watcher(recent, self.sends, self._relief.set)
            recent.join(watcher)
            self._delayed_to = 0  # what was delayed for others may be this one's
        try:
            yield watcher, start
        finally:
            recent.leave(watcher)
            self._tidy(recent)

    def _changes_of(self, selection: Selection, accounts: Scope) -> RecentChanges:
        if selection not in self._recent:
            recent = self._recent[selection] = RecentChanges(selection, accounts)
            for index, key in self._entries(recent):
                index[key].add(recent)
        return self._recent[selection]

    def _tidy(self, recent: RecentChanges) -> None:
        self._relief.set()
        if recent.watchers:
            return
        del self._recent[recent.selection]
        for index, key in self._entries(recent):
            index[key].discard(recent)
            if not index[key]:
                del index[key]

    def _entries(self, recent: RecentChanges) -> Iterable[tuple[defaultdict[int, set[RecentChanges]], int]]:
        if (scope := recent.selection.scope) is not None:
            for account_id in (ALL_ACCOUNTS,) if scope.accounts is None else scope.accounts:
                yield self._by_account, account_id
        for key in recent.selection.keys:
            yield self._by_task, key

    def _is_watched(self, task_key: int, account_id: int) -> bool:
        return task_key in self._by_task or account_id in self._by_account or ALL_ACCOUNTS in self._by_account

    def _selected_by(self, task_key: int, account_id: int) -> Iterable[RecentChanges]:
        yield from self._by_task.get(task_key, ())
        yield from self._by_account.get(account_id, ())
        yield from self._by_account.get(ALL_ACCOUNTS, ())

    async def run_once(self) -> float | None:
        """Passes on what is settled. Returns the seconds until the next round (None: nobody watches)."""
        if not self._interest.here:
            return None
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._not_before - loop.time()))
        try:
            behind = await self._advance(loop.time())
        except StoreUnavailable as error:
            message = error.message
            self._end_all(lambda: StoreUnavailable(message))
            raise
        except ResumeTokenExpired:
            self._end_all(ResumeTokenExpired, awaited=StoreUnavailable)
            return MIN_INTERVAL
        self._not_before = loop.time() + self._interval
        if not self._interest.here:
            self._forget()
        return self._interval if behind else ANNOUNCE_INTERVAL

    async def _advance(self, now: float) -> bool:
        """Passes on what is settled; returns whether more was drawn than is settled."""
        announce = now >= self._announce_at
        if announce:
            self._announce_at = now + ANNOUNCE_INTERVAL
        self._origin, snapshot = await self._calls.run(
            work.read_snapshot, self._position, self._origin, announce=announce
        )
        if snapshot is None:
            return False
        if self._position is not None and snapshot.last < self._position:
            raise StoreUnavailable("the database went back to an earlier state; go on with the last resume token")
        settled = self._watermark.settled(snapshot)
        if settled is None:
            self._interval = min(2 * self._interval, MAX_INTERVAL)
            await self._end_delayed(snapshot.last, now)
        else:
            self._interval = MIN_INTERVAL
            self._end_delay()
            await self._hand_out_to(settled)
        return settled != snapshot.last

    async def _end_delayed(self, last: int, now: float) -> None:
        """Ends the watches that have waited too long for a transaction that stays open; without a change they go on."""
        self._delayed_since = self._delayed_since or now
        if now - self._delayed_since < DELAY_TIMEOUT:
            return
        delayed_to = self._delayed_to
        after = last if self._position is None else max(self._position, delayed_to)  # None: nobody has joined
        awaited = self._watermark.awaited
        holder, moves = await self._calls.run(
            lambda tx: (tx.system.oldest_transaction(awaited), tx.changes.page(after, last, MAX_SCAN))
        )
        if holder is None:
            return
        waiting = [
            reached for _, since, reached in self._awaited if now - since >= DELAY_TIMEOUT and not reached.done()
        ]
        for reached in waiting:
            reached.set_exception(ChangesDelayed(holder.pid, holder.database))
        concerned = {recent for _, key, account_id in moves for recent in self._selected_by(key, account_id)}
        for watcher in (watcher for recent in concerned for watcher in recent.watchers):
            watcher.fail(ChangesDelayed(holder.pid, holder.database))
        if waiting or concerned:
            _log.warning("watches end, since a transaction delays their changes", action="watch", **holder._asdict())
        if len(moves) == MAX_SCAN and self._delayed_to == delayed_to:  # else another one joined meanwhile
            self._delayed_to = moves[-1][0]

    def _end_delay(self) -> None:
        self._delayed_since, self._delayed_to = None, 0

    async def _hand_out_to(self, until: int) -> None:
        while self._position is None or self._position < until:
            async with self._page_lock:
                end = await self._hand_out_page(until)
                if self._origin is None:  # all have left meanwhile
                    return
                self._position = end
                for number, _, reached in self._awaited:
                    if end >= number and not reached.done():
                        reached.set_result(None)
            await self._until_relieved()

    async def _hand_out_page(self, until: int) -> int:
        """Passes on the next page; returns the number up to which it goes."""
        if self._position is None or not self._recent:
            return until
        assert self._origin is not None, "a snapshot came before"
        page, cleaned = await self._calls.run(
            work.in_history, self._origin, work.read_all, self._position, until, self._is_watched
        )
        await self._offer(page.changes)
        for recent in self._recent.values() if cleaned else ():
            if any(account_id in recent.accounts for account_id in cleaned):
                for watcher in recent.watchers:
                    watcher.fail(ResumeTokenExpired())
        return page.end

    async def _offer(self, page: list[TaskChange]) -> None:
        """Watchers may leave between two changes; none joins while a page is passed on."""
        offers = 0
        for change in page:
            for recent in self._selected_by(change.task.task_key, change.task.account_id):
                recent.offer(change)
                offers += 1
            if offers >= MAX_OFFERS:
                offers = 0
                await asyncio.sleep(0)

    async def _until_relieved(self) -> None:
        """Gives watchers that read the time to; those that don't read can't hold up the others for long."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._no_relief_before:
            return
        try:
            async with asyncio.timeout(RELIEF_TIMEOUT):
                while any(watcher.crowded for watcher in self._watchers):
                    self._relief.clear()
                    await self._relief.wait()
        except TimeoutError:
            self._no_relief_before = loop.time() + RELIEF_INTERVAL

    def _end_caller(self, caller: str) -> None:
        """Ends all watches of a caller that has too many changes unread."""
        for watcher in self._watchers:
            if watcher.caller == caller:
                watcher.fail(Overrun(WatchOverrun))
        _log.warning("a caller's watches end, since it reads too little of them", action="watch", caller=caller)

    def _end_all(self, failure: Callable[[], DomainError], *, awaited: Callable[[], DomainError] | None = None) -> None:
        """Fails all watchers; `awaited` is the failure of callers of `reach`, if it is another one."""
        self._forget()
        self._watermark = Watermark()
        for watcher in self._watchers:
            watcher.fail(failure())
        for _, _, reached in self._awaited:
            if not reached.done():
                reached.set_exception((awaited or failure)())

    def _forget(self) -> None:
        self._position = self._origin = None
        self._end_delay()

    def close(self) -> None:
        """Ends every watch with ShuttingDown."""
        self._closed = True
        self._end_all(ShuttingDown)
