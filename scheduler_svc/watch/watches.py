"""WatchTasks: present states, then missed changes page by page, then changes from the feed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from scheduler_svc.domain.change import TaskChange
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.watch import work
from scheduler_svc.watch.feed import ChangeFeed
from scheduler_svc.watch.watchers import SelectedChange
from scheduler_svc.watch.work import MAX_PAGE, ChangePage, OpenedWatch, Position, Selection

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class TaskWatch:
    """One stream. `position` is that of the last change yielded, in the history `origin`."""

    def __init__(
        self, calls: Calls, feed: ChangeFeed, selection: Selection, opened: OpenedWatch, position: Position
    ) -> None:
        self.origin = opened.origin
        self.position = position
        self._calls = calls
        self._feed = feed
        self._selection = selection
        self._accounts = opened.accounts
        self._read_to = position.number
        self._listed_to, self._listed = position.key, not position.listing

    async def changes(self) -> AsyncGenerator[SelectedChange, None]:
        """Yields every change, without end, when it is the caller's turn to send; `position` is that change's.

        Raises ResumeTokenExpired if moves were deleted before they were read, or the database's history changed (a
        standby was promoted); Overrun if the caller reads too little; StoreUnavailable; ChangesDelayed; ShuttingDown.
        """
        while not self._listed:
            for change in await self._present():
                await self._feed.sends.turn()
                self.position = self.position._replace(key=change.task.task_key)
                yield SelectedChange(change)
        while self._feed.position - self._read_to > MAX_PAGE:  # else moves meanwhile would fill the buffer
            for change in await self._missed(self._feed.position):
                await self._feed.sends.turn()
                yield self._at(SelectedChange(change))
        async with self._feed.joined(self._selection, self._accounts, self.origin) as (watcher, start):
            while self._read_to < start:
                for change in await self._missed(start):
                    await self._feed.sends.turn()
                    yield self._at(SelectedChange(change))
            while True:
                selected = await watcher.next()
                if selected.change.number > self._read_to:  # a token may be ahead of this replica's feed
                    yield self._at(selected)

    async def _present(self) -> list[TaskChange]:
        page = await self._read(work.read_present, self._listed_to, self.position.number)
        self._listed_to, self._listed = page.end, not page.full
        return page.changes

    async def _missed(self, until: int) -> list[TaskChange]:
        page = await self._read(work.read_selected, self._read_to, until)
        self._read_to = page.end
        return page.changes

    async def _read(
        self, read: Callable[[Tx, Selection, int, int, int], ChangePage], after: int, until: int
    ) -> ChangePage:
        """Reads a page, as large as the caller may have now, of what was stored by the change `until`."""
        limit = self._feed.sends.ahead(MAX_PAGE)
        return await self._calls.run(work.in_history, self.origin, read, self._selection, after, until, limit)

    def _at(self, selected: SelectedChange) -> SelectedChange:
        self.position = Position(selected.change.number, selected.change.task.task_key, listing=False)
        return selected


class Watches:
    def __init__(self, calls: Calls, feed: ChangeFeed) -> None:
        self._calls = calls
        self._feed = feed

    @asynccontextmanager
    async def open(
        self, selection: Selection, resumed: tuple[Position, str] | None, *, present: bool = True
    ) -> AsyncIterator[TaskWatch]:
        """Opens a watch anew, with the present states or without, or after a position in a history.

        Raises NotFound, ResumeTokenExpired, TooManyWatchers, StoreUnavailable, ChangesDelayed, ShuttingDown.
        """
        with self._feed.admitted(), self._feed.sends.watch():
            opened = await self._calls.run(work.open_watch, selection, resumed)
            await self._feed.reach(opened.last)
            position = resumed[0] if resumed else Position(opened.last, 0, listing=present)
            yield TaskWatch(self._calls, self._feed, selection, opened, position)
