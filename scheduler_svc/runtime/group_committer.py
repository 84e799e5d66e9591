"""Group commit: the items that arrive while one transaction runs become the next transaction.

No timer adds latency on an idle system; under load the groups grow by themselves, and callers share them fairly. A lane
of small items may linger between groups: each transaction costs as much as some dozens of them.

An item that needs a lock which another session holds is set aside and retried each `RETRY_INTERVAL`; the rest of its
group goes on. Later items that share a key with it wait behind it, so that items which belong together stay in order.

`Lanes` are several group committers for one kind of item. A user's items all go to one of them, and so stay in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from scheduler_svc.domain.errors import (
    DomainError,
    LockTimeout,
    ShuttingDown,
    StoreUnavailable,
    TooManyCalls,
    WaitedTooLong,
)
from scheduler_svc.domain.system import LaneState
from scheduler_svc.metrics import LaneMetrics
from scheduler_svc.runtime.calls import FairQueue
from scheduler_svc.runtime.loops import Supervision, ThreadService

if TYPE_CHECKING:
    from scheduler_svc.transactions import Database, Tx


E = TypeVar("E")

RETRY_INTERVAL = 0.5


class SetAsideItems(Generic[E]):
    """Entries in the order of their next retry."""

    def __init__(self, keys: Callable[[E], Iterable[Hashable]]) -> None:
        self._keys = keys
        self._entries: list[E] = []
        self._blocked_keys: set[Hashable] = set()
        self._next_try = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[E], *, first: bool = False) -> None:
        """Sets these aside, as the last ones to be retried, or as the first ones."""
        if not self._entries:
            self._next_try = time.monotonic() + RETRY_INTERVAL
        place = 0 if first else len(self._entries)
        self._entries[place:place] = entries
        self._blocked_keys.update(key for entry in entries for key in self._keys(entry))

    def pass_on(self, entries: Sequence[E]) -> list[E]:
        """Returns the entries that share no key with one set aside; sets the others aside."""
        if not self._entries:
            return list(entries)
        passed = []
        for entry in entries:
            if self._blocked_keys.isdisjoint(self._keys(entry)):
                passed.append(entry)
            else:
                self.add([entry])
        return passed

    def until_next_try(self) -> float | None:
        """Returns the seconds until the next retry, or None if nothing is set aside."""
        return max(0.0, self._next_try - time.monotonic()) if self._entries else None

    def take(self) -> list[E]:
        entries, self._entries = self._entries, []
        self._blocked_keys.clear()
        return entries


T = TypeVar("T")
R = TypeVar("R")

AfterCommit = Callable[[], None]
"""Work of the committer's thread after the commit; a transaction may do it, too."""

SHORT_LOCK_TIMEOUT = 0.05
"""Seconds that a group waits for a lock while some item is set aside, or after a first wait failed."""
SEARCH_TIMEOUT = 1.0
"""Seconds to find the items that can't get a lock; those not tried by then are set aside too."""
RETRY_TIMEOUT = 0.2
"""Seconds to retry the items that are set aside; new items wait meanwhile."""
QUEUE_TIMEOUT = 10.0
"""Seconds that an item waits for its group while groups are answered."""
GROUP_SHARES = 10
"""While several callers wait, each has one of so many shares of a group."""
BUSY_GROUP = 8
"""Items of a group after which a lane lingers: as many will come again."""
SLOW_GROUP_LIMIT = 1.0
"""Seconds. A group that takes longer is the database's fault: items that wait meanwhile don't time out."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[T, R]):
    item: T
    future: asyncio.Future[R]
    after_commit: AfterCommit | None
    weight: int
    since: float
    caller: str


class GroupCommitter(ThreadService, Generic[T, R]):
    """One thread, one transaction at a time, one answer an item. `commit`, `submit` and `post` on the event loop."""

    def __init__(
        self,
        kind: str,
        database: Database,
        work: Callable[[Tx, Sequence[T]], Sequence[R | DomainError]],
        *,
        weight: Callable[[T], int],
        max_weight: int,
        max_waiting: int | None,
        max_lock_wait: float,
        keys: Callable[[T], Iterable[Hashable]] = lambda _: (),
        caller: Callable[[], str] | None = None,
        after_commit: Callable[[], AfterCommit | None] = lambda: None,
        linger: float = 0.0,
        supervision: Supervision | None = None,
        metrics: LaneMetrics | None = None,
    ) -> None:
        """`work` answers each item of a group, in order.

        Args:
            kind: of its items; names the thread.
            database: of its thread alone.
            work: runs in one transaction a group.
            weight: of an item.
            max_weight: of a group; it may be exceeded a little.
            max_waiting: weight of all items that wait for their group; it may be exceeded a little. None: the callers
                bound it.
            max_lock_wait: seconds after which an item that can't get its locks fails with LockTimeout.
            keys: items that share a key are never reordered.
            caller: names the caller when an item comes. Callers then share the groups and `max_waiting`, an item that
                waits too long fails, and an item that its caller cancels is left out. None: first come, first served.
            after_commit: called when an item comes while none waits; what it returns runs on the thread once that
                item is committed.
            linger: seconds in which items gather after a group that had many but was far from full.
            supervision: restarts the thread's work.
            metrics: takes the size and times of each group.
        """
        super().__init__(f"lane-{kind}", supervision)
        self._database = database
        self._work = work
        self._weight = weight
        self._max_lock_wait = max_lock_wait
        self._caller = caller
        self._entries: FairQueue[_Entry[T, R]] = FairQueue(
            max_weight=max_weight, share=max(1, max_weight // GROUP_SHARES)
        )
        self._few = max_weight // 10
        self._linger = linger
        self._waits_since = -math.inf
        self._aside: SetAsideItems[_Entry[T, R]] = SetAsideItems(lambda entry: keys(entry.item))
        self._max_waiting = max_waiting
        self._waiting = 0
        self._weights: Counter[str] = Counter()
        self._open: dict[_Entry[T, R], None] = {}
        self._answered_at = time.monotonic()
        self._after_commit = after_commit
        self._metrics = metrics

    async def commit(self, item: T) -> R:
        """Returns the answer to `item` once it is committed. Raises the domain error that refused it."""
        return await self.submit(item)

    def submit(self, item: T) -> asyncio.Future[R]:
        """Does as `commit` without waiting. Items are answered in the order of these calls."""
        assert self._loop is not None, "start it first"
        future: asyncio.Future[R] = self._loop.create_future()
        caller = self._caller() if self._caller else ""
        if refusal := self._refusal(caller):
            future.set_exception(refusal)
        else:
            after_commit = None if self._waiting else self._after_commit()
            entry = _Entry(item, future, after_commit, self._weight(item), time.monotonic(), caller)
            self._waiting += entry.weight
            self._weights[caller] += entry.weight
            self._open[entry] = None
            self._entries.put(caller, entry)
        return future

    def _refusal(self, caller: str) -> DomainError | None:
        """Returns why the caller's item is refused. One with less than its share waiting is not refused for others."""
        if self._stopping.is_set():
            return ShuttingDown()
        if self._max_waiting is None or self._waiting < self._max_waiting:
            return None
        if not self._weights.keys() - {caller}:
            return StoreUnavailable("the database can't keep up with what is submitted; try again")
        if self._weights[caller] * len(self._weights.keys() | {caller}) < self._max_waiting:
            return None
        return TooManyCalls("this caller has its share of the tasks that may wait to be stored")

    def post(self, item: T) -> None:
        """Does as `submit`, and drops the answer: if the item fails, another mechanism does its work later."""
        self.submit(item).add_done_callback(lambda future: future.cancelled() or future.exception())

    def state(self) -> LaneState:
        """Returns the present state; `idle_for` counts from the database's last answer. Call it on the event loop."""
        now = time.monotonic()
        oldest = next(iter(self._open), None)
        age = now - oldest.since if oldest else 0.0
        return LaneState(age, now - self._answered_at, waiting=len(self._open), set_aside=len(self._aside))

    def run_once(self) -> bool:
        """Takes the next group and answers it; returns whether another one may follow."""
        group, more = self._entries.take(self._aside.until_next_try())  # none: it is time to retry what is set aside
        begun = time.monotonic()
        try:
            self._process(self._without_cancelled(group))
            self._measure(group, begun)
        except BaseException:
            self._resolve([(entry, StoreUnavailable()) for entry in group])
            raise
        finally:
            _run_after_commit(group)
        self._fail_late(begun)
        if self._linger and len(group) >= BUSY_GROUP and sum(entry.weight for entry in group) < self._few:
            time.sleep(self._linger)
        return more

    def _serve(self) -> None:
        while self.run_once():
            pass
        self._fail_locked(self._aside.take())

    def _interrupt(self) -> None:
        self._entries.close()

    def _process(self, group: list[_Entry[T, R]]) -> None:
        if self._aside.until_next_try() == 0.0:
            self._try_again()
        if group:
            self._resolve(self._answer(self._aside.pass_on(group)))

    def _measure(self, group: list[_Entry[T, R]], begun: float) -> None:
        if self._metrics and group:
            waited = begun - min(entry.since for entry in group)
            self._metrics.group(len(group), time.monotonic() - begun, waited)

    def _without_cancelled(self, group: list[_Entry[T, R]]) -> list[_Entry[T, R]]:
        if self._caller is None:
            return group
        self._resolve([(entry, StoreUnavailable()) for entry in group if entry.future.cancelled()])
        return [entry for entry in group if not entry.future.cancelled()]

    def _fail_late(self, begun: float) -> None:
        """Fails entries that have waited too long, unless a group was slow meanwhile; the last one began at `begun`."""
        now = time.monotonic()
        if now - begun > SLOW_GROUP_LIMIT:
            self._waits_since = now
        if self._caller is None or now - self._waits_since < QUEUE_TIMEOUT:
            return
        late = self._entries.take_older(now - QUEUE_TIMEOUT)
        self._resolve([(entry, WaitedTooLong(QUEUE_TIMEOUT)) for entry in late])
        _run_after_commit(late)

    def _answer(self, group: list[_Entry[T, R]]) -> list[_Answer[T, R]]:
        """Answers a group, except for entries that can't get a lock: those are set aside."""
        if not group:
            return []
        try:
            return self._attempt(group, SHORT_LOCK_TIMEOUT if self._aside else None)
        except LockTimeout:
            return self._search(group, time.monotonic() + SEARCH_TIMEOUT)

    def _search(self, group: list[_Entry[T, R]], until: float) -> list[_Answer[T, R]]:
        """Halves a group until single entries can't get a lock; sets those and the untried ones aside."""
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
        """Retries the entries that are set aside; those that have waited too long fail."""
        now = time.monotonic()
        waiting: list[_Entry[T, R]] = []
        over: list[_Entry[T, R]] = []
        for entry in self._aside.take():
            in_time = now - entry.since < self._max_lock_wait and not entry.future.done()
            (waiting if in_time else over).append(entry)
        self._fail_locked(over)
        self._resolve(self._search(waiting, now + RETRY_TIMEOUT))

    def _fail_locked(self, entries: list[_Entry[T, R]]) -> None:
        self._resolve([(entry, LockTimeout()) for entry in entries])

    def _attempt(self, group: list[_Entry[T, R]], lock_timeout: float | None) -> list[_Answer[T, R]]:
        """Runs a group. If one item makes it fail, the group is halved until that item is alone.

        Raises LockTimeout; nothing of the group is done then.
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
        tx.after_commit = next((entry.after_commit for entry in group if entry.after_commit), None)
        answers = self._work(tx, [entry.item for entry in group])
        return list(zip(group, answers, strict=True))

    def _resolve(self, answers: list[_Answer[T, R]]) -> None:
        if answers:
            self._call_soon(self._set_all, answers)

    def _set_all(self, answers: list[_Answer[T, R]]) -> None:
        if any(not isinstance(answer, StoreUnavailable) for _, answer in answers):
            self._answered_at = time.monotonic()
        for entry, answer in answers:
            if entry not in self._open:
                continue
            del self._open[entry]
            self._waiting -= entry.weight
            self._weights[entry.caller] -= entry.weight
            if not self._weights[entry.caller]:
                del self._weights[entry.caller]
            if entry.future.done():
                continue  # its caller has cancelled it
            if isinstance(answer, BaseException):
                entry.future.set_exception(answer)
            else:
                entry.future.set_result(answer)


def _run_after_commit(entries: Iterable[_Entry[T, R]]) -> None:
    """Runs it also for entries that failed: the dispatcher waits for its end."""
    for entry in entries:
        if entry.after_commit:
            after_commit, entry.after_commit = entry.after_commit, None
            after_commit()


_Answer = tuple[_Entry[T, R], R | BaseException]


class Lanes(Generic[T, R]):
    """Lives on the event loop."""

    def __init__(self, lanes: Sequence[GroupCommitter[T, R]]) -> None:
        self._users = dict.fromkeys(lanes, 0)

    @contextmanager
    def least_used(self) -> Iterator[GroupCommitter[T, R]]:
        """Yields the lane with the fewest users, of which the caller is one in here."""
        lane = min(self._users, key=lambda candidate: self._users[candidate])
        self._users[lane] += 1
        try:
            yield lane
        finally:
            self._users[lane] -= 1

    def state(self) -> LaneState:
        """Returns the states as one: that of a lane which stands still, if there is one."""
        states = [lane.state() for lane in self._users]
        slowest = max(states, key=lambda state: min(state.oldest, state.idle_for))
        return LaneState(
            slowest.oldest,
            slowest.idle_for,
            waiting=sum(state.waiting for state in states),
            set_aside=sum(state.set_aside for state in states),
        )
