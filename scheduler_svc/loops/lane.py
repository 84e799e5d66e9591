"""Group commit: while one transaction runs, what arrives gathers and becomes the next one.

No timer adds latency on an idle system; under load the groups grow by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler_svc.application.ports import Database, Tx
from scheduler_svc.domain.errors import DomainError, ShuttingDown, StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")

Errand = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T, R]):
    item: T
    future: asyncio.Future[R]
    errand: Errand | None


class Lane(Generic[T, R]):
    """One thread, one transaction at a time, one answer an item."""

    def __init__(
        self,
        name: str,
        database: Database,
        work: Callable[[Tx, Sequence[T]], Sequence[R | DomainError]],
        *,
        weight: Callable[[T], int],
        max_weight: int,
        max_waiting: int | None,
        errand: Callable[[], Errand | None] = lambda: None,
    ) -> None:
        """`work` answers each item of a group, in order.

        A group's weights sum to `max_weight` or little more, those of what waits for its group to `max_waiting` or
        little more (None: the callers see to that). An idle lane asks for an errand, on the event loop, and its thread
        runs it once the item that came is committed.
        """
        self._database = database
        self._work = work
        self._weight = weight
        self._max_weight = max_weight
        self._entries: queue.SimpleQueue[_Entry[T, R] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"lane-{name}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._max_waiting = max_waiting
        self._waiting = 0
        self._errand = errand

    def start(self) -> None:
        """Takes items from now on; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def put(self, item: T) -> R:
        """The answer to `item`, once it is committed. Raises the domain error that refused it."""
        return await self.submit(item)

    def submit(self, item: T) -> asyncio.Future[R]:
        """The same without waiting: items are answered in the order of these calls. Call it on the event loop."""
        assert self._loop is not None, "start the lane first"
        future: asyncio.Future[R] = self._loop.create_future()
        if self._stopping:
            future.set_exception(ShuttingDown())
        elif self._max_waiting is not None and self._waiting >= self._max_waiting:
            future.set_exception(StoreUnavailable("the database can't keep up with what is submitted; try again"))
        else:
            errand = None if self._waiting else self._errand()
            self._waiting += self._weight(item)
            self._entries.put(_Entry(item, future, errand))
        return future

    def tell(self, item: T) -> None:
        """The same, where nobody waits for the answer: what it would have done happens otherwise, later."""
        self.submit(item).add_done_callback(lambda done: done.cancelled() or done.exception())

    async def stop(self) -> None:
        """Answers what is under way, then ends."""
        if self._loop is None:
            return
        if not self._stopping:
            self._stopping = True
            self._entries.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (entry := self._entries.get()) is not None:
            group, more = self._gather(entry)
            self._resolve(self._answer(group), sum(self._weight(entry.item) for entry in group))
            for entry in group:
                if entry.errand:
                    entry.errand()
            if not more:
                return

    def _gather(self, first: _Entry[T, R]) -> tuple[list[_Entry[T, R]], bool]:
        """What has gathered, and whether there is more to come after it."""
        group, weight = [first], self._weight(first.item)
        while weight < self._max_weight:
            try:
                entry = self._entries.get_nowait()
            except queue.Empty:
                break
            if entry is None:
                return group, False
            group.append(entry)
            weight += self._weight(entry.item)
        return group, True

    def _answer(self, group: list[_Entry[T, R]]) -> list[tuple[asyncio.Future[R], R | BaseException]]:
        """Runs a group; one that fails for the sake of an item is halved until that item stands alone."""
        try:
            return self._database.run(lambda tx: self._work_on(tx, group))
        except DomainError as error:
            return [(entry.future, error) for entry in group]
        except Exception as error:  # noqa: BLE001 - each item's caller gets it
            if len(group) == 1:
                return [(group[0].future, error)]
            middle = len(group) // 2
            return self._answer(group[:middle]) + self._answer(group[middle:])

    def _work_on(self, tx: Tx, group: list[_Entry[T, R]]) -> list[tuple[asyncio.Future[R], R | BaseException]]:
        answers = self._work(tx, [entry.item for entry in group])
        return [(entry.future, answer) for entry, answer in zip(group, answers, strict=True)]

    def _resolve(self, answers: list[tuple[asyncio.Future[R], R | BaseException]], weight: int) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
            self._loop.call_soon_threadsafe(self._set_all, answers, weight)

    def _set_all(self, answers: list[tuple[asyncio.Future[R], R | BaseException]], weight: int) -> None:
        self._waiting -= weight
        for future, answer in answers:
            if future.done():
                continue  # its caller has gone
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
