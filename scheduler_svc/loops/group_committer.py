"""Group commit: while one transaction runs, what arrives gathers and becomes the next one.

No timer adds latency on an idle system; under load the groups grow by themselves, and callers share them. An item that
needs a lock which somebody else holds is set aside and tried again, and the rest of its group goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler_svc.application.ports import Database, Tx
from scheduler_svc.domain.errors import (
    DomainError,
    LockTimeout,
    ShuttingDown,
    StoreUnavailable,
    TooManyCalls,
    WaitedTooLong,
)
from scheduler_svc.domain.system import LaneState
from scheduler_svc.loops.fair_queue import FairQueue
from scheduler_svc.loops.set_aside import SetAside
from scheduler_svc.loops.supervision import Supervision

T = TypeVar("T")
R = TypeVar("R")

Errand = Callable[[], None]

SHORT_LOCK_TIMEOUT = 0.05
"""Seconds that a group waits for a lock while something is set aside, or once it has waited in vain."""
SEARCH_TIMEOUT = 1.0
"""Seconds that a lane looks for the items which can't get a lock; what it has not tried by then is set aside too."""
RETRY_TIMEOUT = 0.2
"""Seconds that it looks among those that are set aside: new items wait meanwhile."""
TURN_PATIENCE = 10.0
"""Seconds that an item waits for its caller's turn while groups are answered."""
SHARES = 10
"""A caller's part of a group, where others wait, is one of so many."""
SLOW = 1.0
"""Seconds for a group that are the database's fault: whose turn did not come meanwhile goes on waiting."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[T, R]):
    item: T
    future: asyncio.Future[R]
    errand: Errand | None
    weight: int
    since: float
    who: str


class GroupCommitter(Generic[T, R]):
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
        lock_patience: float,
        keys: Callable[[T], Iterable[Hashable]] = lambda _: (),
        caller: Callable[[], str] | None = None,
        errand: Callable[[], Errand | None] = lambda: None,
        supervision: Supervision | None = None,
    ) -> None:
        """`work` answers each item of a group, in order.

        A group's weights sum to `max_weight` or little more, those of what waits for its group to `max_waiting` or
        little more (None: the callers see to that). An item that can't get its locks fails with LockTimeout after
        `lock_patience` seconds; items that share one of their `keys` are never reordered. An idle lane asks for an
        errand, on the event loop, and its thread runs it once the item that came is committed.

        `caller` says, where an item comes, whose it is: then callers share the groups and `max_waiting`, what waits
        for its turn too long fails, and what its caller gives up before is left out. None: first come, first served.
        """
        self.name = name
        self._database = database
        self._work = work
        self._weight = weight
        self._lock_patience = lock_patience
        self._caller = caller
        self._entries: FairQueue[_Entry[T, R]] = FairQueue(most=max_weight, share=max(1, max_weight // SHARES))
        self._waits_since = -math.inf
        self._aside: SetAside[_Entry[T, R]] = SetAside(lambda entry: keys(entry.item))
        self._supervision = supervision or Supervision()
        self._thread = threading.Thread(target=self._run, name=f"lane-{name}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._max_waiting = max_waiting
        self._waiting = 0
        self._weights: Counter[str] = Counter()
        self._open: dict[_Entry[T, R], None] = {}
        self._answered_at = time.monotonic()
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
        who = self._caller() if self._caller else ""
        if refusal := self._refusal(who):
            future.set_exception(refusal)
        else:
            errand = None if self._waiting else self._errand()
            entry = _Entry(item, future, errand, self._weight(item), time.monotonic(), who)
            self._waiting += entry.weight
            self._weights[who] += entry.weight
            self._open[entry] = None
            self._entries.put(who, entry)
        return future

    def _refusal(self, who: str) -> DomainError | None:
        """Why nothing more is taken of this caller: who has less than a share waiting is never refused for others."""
        if self._stopping.is_set():
            return ShuttingDown()
        if self._max_waiting is None or self._waiting < self._max_waiting:
            return None
        if not self._weights.keys() - {who}:
            return StoreUnavailable("the database can't keep up with what is submitted; try again")
        if self._weights[who] * len(self._weights.keys() | {who}) < self._max_waiting:
            return None
        return TooManyCalls("this caller has its share of the tasks that may wait to be stored")

    def tell(self, item: T) -> None:
        """The same, where nobody waits for the answer: what it would have done happens otherwise, later."""
        self.submit(item).add_done_callback(lambda done: done.cancelled() or done.exception())

    def state(self) -> LaneState:
        """How it stands: `idle_for` since the database last answered a group. Call it on the event loop."""
        now = time.monotonic()
        oldest = next(iter(self._open), None)
        age = now - oldest.since if oldest else 0.0
        return LaneState(age, now - self._answered_at, waiting=len(self._open), set_aside=len(self._aside))

    async def stop(self) -> None:
        """Answers what is under way, then ends. What is set aside then fails with LockTimeout."""
        if self._loop is None:
            return
        if not self._stopping.is_set():
            self._stopping.set()
            self._entries.close()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        self._supervision.run(self._thread.name, self._serve, self._stopping)
        self._stopping.set()  # where it was given up, too

    def _serve(self) -> None:
        more = True
        while more:
            group, more = self._entries.take(self._aside.until_next_try())
            begun = time.monotonic()
            try:
                self._process(self._wanted(group))
            except BaseException:
                self._resolve([(entry, StoreUnavailable()) for entry in group])
                raise
            finally:
                _run_errands(group)
            self._refuse_late(begun)
        self._give_up(self._aside.take())

    def _process(self, group: list[_Entry[T, R]]) -> None:
        if self._aside.until_next_try() == 0.0:
            self._try_again()
        if group:
            self._resolve(self._answer(self._aside.pass_on(group)))

    def _wanted(self, group: list[_Entry[T, R]]) -> list[_Entry[T, R]]:
        """A group without what was given up. `group` is empty when it is time to try again what is set aside."""
        if self._caller is None:
            return group
        self._resolve([(entry, StoreUnavailable()) for entry in group if entry.future.cancelled()])
        return [entry for entry in group if not entry.future.cancelled()]

    def _refuse_late(self, begun: float) -> None:
        """Fails what has waited for its turn for too long; but not where a group took so long that began then."""
        now = time.monotonic()
        if now - begun > SLOW:
            self._waits_since = now
        if self._caller is None or now - self._waits_since < TURN_PATIENCE:
            return
        late = self._entries.take_older(now - TURN_PATIENCE)
        self._resolve([(entry, WaitedTooLong(TURN_PATIENCE)) for entry in late])
        _run_errands(late)

    def _answer(self, group: list[_Entry[T, R]]) -> list[_Answer[T, R]]:
        """Runs a group. Where it can't get a lock, those that need it are set aside, and the others answered."""
        if not group:
            return []
        try:
            return self._attempt(group, SHORT_LOCK_TIMEOUT if self._aside else None)
        except LockTimeout:
            return self._search(group, time.monotonic() + SEARCH_TIMEOUT)

    def _search(self, group: list[_Entry[T, R]], until: float) -> list[_Answer[T, R]]:
        """Halves a group until the items that can't get a lock stand alone; sets those aside, and what is not tried."""
        group = self._aside.pass_on(group)
        if not group:
            return []
        if time.monotonic() < until:
            with contextlib.suppress(LockTimeout):
                return self._attempt(group, SHORT_LOCK_TIMEOUT)
            if len(group) > 1:
                middle = len(group) // 2
                return self._search(group[:middle], until) + self._search(group[middle:], until)
            self._aside.add(group)
        else:
            self._aside.add(group, first=True)
        return []

    def _try_again(self) -> None:
        """Tries what is set aside; what has waited for too long fails."""
        now = time.monotonic()
        waiting: list[_Entry[T, R]] = []
        over: list[_Entry[T, R]] = []
        for entry in self._aside.take():
            patient = now - entry.since < self._lock_patience and not entry.future.done()
            (waiting if patient else over).append(entry)
        self._give_up(over)
        self._resolve(self._search(waiting, now + RETRY_TIMEOUT))

    def _give_up(self, entries: list[_Entry[T, R]]) -> None:
        self._resolve([(entry, LockTimeout()) for entry in entries])

    def _attempt(self, group: list[_Entry[T, R]], lock_timeout: float | None) -> list[_Answer[T, R]]:
        """Runs a group; one that fails for the sake of an item is halved until that item stands alone.

        Raises LockTimeout, where nothing of the group is done.
        """
        try:
            return self._database.run(lambda tx: self._work_on(tx, group), lock_timeout=lock_timeout)
        except LockTimeout:
            raise
        except DomainError as error:
            return [(entry, error) for entry in group]
        except Exception as error:  # noqa: BLE001 - each item's caller gets it
            if len(group) == 1:
                return [(group[0], error)]
            middle = len(group) // 2
            return self._answer(group[:middle]) + self._answer(group[middle:])

    def _work_on(self, tx: Tx, group: list[_Entry[T, R]]) -> list[_Answer[T, R]]:
        answers = self._work(tx, [entry.item for entry in group])
        return list(zip(group, answers, strict=True))

    def _resolve(self, answers: list[_Answer[T, R]]) -> None:
        assert self._loop is not None
        if answers:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                self._loop.call_soon_threadsafe(self._set_all, answers)

    def _set_all(self, answers: list[_Answer[T, R]]) -> None:
        if any(not isinstance(answer, StoreUnavailable) for _, answer in answers):
            self._answered_at = time.monotonic()
        for entry, answer in answers:
            if entry not in self._open:
                continue
            del self._open[entry]
            self._waiting -= entry.weight
            self._weights[entry.who] -= entry.weight
            if not self._weights[entry.who]:
                del self._weights[entry.who]
            if entry.future.done():
                continue  # its caller has gone
            if isinstance(answer, BaseException):
                entry.future.set_exception(answer)
            else:
                entry.future.set_result(answer)


def _run_errands(entries: Iterable[_Entry[T, R]]) -> None:
    """Whatever has become of these: who gave an errand waits for it."""
    for entry in entries:
        if entry.errand:
            errand, entry.errand = entry.errand, None
            errand()


_Answer = tuple[_Entry[T, R], R | BaseException]
