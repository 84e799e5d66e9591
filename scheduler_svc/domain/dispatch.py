"""The order of dispatch: start-time fair queueing between accounts, within a bounded window of each.

Within a priority each account has a virtual finish, and the priority has a virtual time: the smallest tag that waits,
or the largest finish if none waits. A task's tag is the larger of the two; its account's finish is then one share
further. Serving by tags is fair, and an account that was idle gains no credit: it starts at the virtual time. Source:
Goyal, Vin, Cheng, "Start-time Fair Queueing", 1997. There the virtual time is the tag that was served last: here that
would be a row which every claim writes, on every replica. The smallest tag that waits takes one look-up in an index.

Only tasks that may run soon have a tag: about `MAX_WINDOW` of each account and priority, at most as many as there are
free seats if the account has a limit or a start quota, and none while it is paused. The others wait without a tag,
oldest first, and get one as tasks leave.

If priorities rise with the wait, a task competes one priority higher for each `aging` seconds that it has been ready.
That changes which priority is served, never the order within one.

The quota of starts and the demand for workers, which follow from both, are below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from scheduler_svc.domain.task import MAX_PRIORITY

MAX_WINDOW = 3_000
"""How many shares ahead of a priority's virtual time an account's tags may be: about as many tasks."""
REFILL_LIMIT = 2_000
"""The shares ahead below which a window with untagged tasks is refilled."""
URGENT_REFILL_LIMIT = 1_000
"""The shares ahead below which the next claim waits for the refill: a claim may take as many tasks."""
REFILL_ALWAYS = float("-inf")
"""The refill tag of accounts whose starts are counted: each claim asks for a refill."""
MAX_TAG_GAP = 32
"""Shares that an account's tags may be further ahead than it has tagged tasks: tasks that left unserved make a gap."""

# Tasks with a worker selector wait in queues of their own, ten for each selector, which a claim reads only for workers
# that match. So a queue is a number where others have the priority: that plus a multiple of the selector's.

QUEUES = 16
"""Numbers of queues from one selector to the next; those below are of tasks without one."""
MAX_QUEUE = 32_767


def queue_of(priority: int, selector_id: int) -> int:
    return priority + QUEUES * selector_id


def priority_of(queue: int) -> int:
    return queue % QUEUES


@dataclass(frozen=True, slots=True)
class Flow:
    """The tasks of one account and priority at one moment: how many have a tag, how many wait for one.

    `finish` is the account's virtual finish, `now` the priority's virtual time. `served`: whether a worker is there
    that may run them. `waits`: seconds that the tasks which compete above their priority have waited, longest first;
    empty if priorities don't rise.
    """

    priority: int
    finish: float
    now: float
    tagged: int
    untagged: int
    served: bool = True
    waits: Sequence[float] = ()

    def window_limit(self, weight: float) -> int:
        """Returns how many tasks the window holds or could hold now, if there were seats for all."""
        if not self.served:
            return 0
        return self.tagged + min(self.untagged, tag_space(self.finish, self.now, weight))

    def has_tag_gap(self, weight: float) -> bool:
        """Returns whether so many tasks left unserved that the others would wait too long."""
        return (self.finish - self.now) * weight > self.tagged + MAX_TAG_GAP


def tags(finish_after: float, count: int, weight: float = 1.0) -> list[float]:
    """Returns the tags of `count` tasks of one account, oldest first, after its finish has become `finish_after`."""
    share = 1.0 / weight
    start = finish_after - count * share
    return [start + i * share for i in range(count)]


def tag_space(finish: float, now: float, weight: float) -> int:
    """Returns how many more tasks get a tag less than `MAX_WINDOW` shares ahead of the virtual time."""
    return max(0, ceil(MAX_WINDOW - (max(finish, now) - now) * weight))


def refill(finish: float, weight: float) -> float:
    """Returns the refill tag: a claim of this tag or a later one leaves few ahead in a window with untagged tasks."""
    return finish - REFILL_LIMIT / weight


def effective(priority: int, wait: float, aging: float) -> int:
    """Returns the priority by which a task competes after a wait in seconds; `aging` 0: always its own.

    `dispatch/sql/claim.py` computes the same in a claim.
    """
    return min(MAX_PRIORITY, priority + int(max(0.0, wait) // aging)) if aging else priority


class _Bid(NamedTuple):
    effective: int
    wait: float
    turn: int
    flow: int
    tasks: int


def allot(flows: Sequence[Flow], seats: int | None, weight: float, aging: float = 0.0) -> list[int]:
    """Returns how many tasks of each flow should have a tag, for so many free seats (None: unlimited).

    Flows are in the order of their priorities. Seats go to the tasks that compete highest, then to those that have
    waited longest, whether they have a tag or not, so the result is stable. In a flow, the first task has waited
    longest. Flows of one priority with different worker selectors take turns.
    """
    if seats is None:
        return [flow.window_limit(weight) for flow in flows]
    allotted = [0] * len(flows)
    step = 1 if len({priority_of(flow.priority) for flow in flows}) < len(flows) else MAX_WINDOW
    bids = [
        bid
        for number, flow in enumerate(flows)
        for bid in _bids(number, flow, min(flow.window_limit(weight), seats), aging, step)
    ]
    for bid in sorted(bids, key=lambda bid: (-bid.effective, -bid.wait, bid.turn, bid.flow)):
        count = min(bid.tasks, seats)
        allotted[bid.flow] += count
        seats -= count
    return allotted


def _bids(number: int, flow: Flow, limit: int, aging: float, step: int) -> Iterator[_Bid]:
    """`step`: tasks for which one turn bids."""
    waits, priority = flow.waits[:limit], priority_of(flow.priority)
    for wait in waits:
        yield _Bid(effective(priority, wait, aging), wait, 0, number, 1)
    for turn, first in enumerate(range(len(waits), limit, step)):
        yield _Bid(priority, 0.0, turn, number, min(step, limit - first))


# An account's quota of attempts started within any minute. A start takes a seat, which comes free a minute later. So
# neither an idle hour nor the edge of a clock's minute lets more attempts start, as an evenly refilled bucket would:
# full at first, it allows twice the quota within its first minute. All times are the database's. If its clock is set
# back, seats come free up to a minute later; if it is set ahead, earlier by as much, once.
#
# Only admission gives tags to such an account. So a task that has lost its tag since the last count, and was not
# removed without a claim, has started. No claim counts anything: until the next count, a start keeps the seat of its
# tag.


MINUTE = timedelta(minutes=1)


class Starts(NamedTuple):
    """A number of attempts, all of which started at `time` or earlier."""

    time: datetime
    number: int


@dataclass(frozen=True, slots=True)
class StartQuota:
    """An account's quota as of `now`, and what is used of it.

    `admitted`: how many tasks had a tag when starts were last counted, less those untagged since without a claim.
    `starts`: counted starts, oldest first; those of one second are one entry.
    """

    limit: int
    now: datetime
    admitted: int = 0
    starts: Sequence[Starts] = ()

    def counted(self, tagged: int) -> StartQuota:
        """Returns the quota with the starts since the last count, and without those older than a minute.

        `tagged`: how many tasks still have their tags.
        """
        now = self.now
        starts = [Starts(min(start.time, now), start.number) for start in self.starts if start.time > now - MINUTE]
        if started := max(0, self.admitted - tagged):
            if starts and _second(starts[-1].time) == _second(now):
                started += starts.pop().number
            starts.append(Starts(now, started))
        return replace(self, starts=starts)

    @property
    def seats(self) -> int:
        """How many tasks may have a tag now."""
        return max(0, self.limit - sum(start.number for start in self.starts))

    @property
    def next_seat(self) -> float | None:
        """Seconds until a seat comes free; None if all are free."""
        return (self.starts[0].time + MINUTE - self.now).total_seconds() if self.starts else None


def _second(time: datetime) -> datetime:
    return time.replace(microsecond=0)


def free_seats(*, paused: bool, limit: int, leased: int, quota: StartQuota | None) -> int | None:
    """Returns how many more tasks of an account may be leased, and so may have a tag; None: any number."""
    bounds = []
    if paused:
        bounds.append(0)
    if limit:
        bounds.append(max(0, limit - leased))
    if quota:
        bounds.append(quota.seats)
    return min(bounds, default=None)


# The demand for workers: tasks that are leased, and tasks that may be leased now.


class QueueHead(NamedTuple):
    """The first tasks of a priority that a claim would take: how many, and the wait of the oldest in seconds."""

    priority: int
    tasks: int
    oldest: float


class Load(NamedTuple):
    """The tasks of one account, or of all: how many are ready and leased, and what keeps the ready ones from workers.

    `limit`: leases that it may have; 0: any number. `quota` None: it may start any number. The starts since the last
    count are missing in it, for a moment.
    """

    ready: int
    leased: int
    paused: bool = False
    limit: int = 0
    quota: StartQuota | None = None

    @property
    def may_start(self) -> int:
        """How many of the ready tasks may be leased now."""
        quota = self.quota and self.quota.counted(self.quota.admitted)
        seats = free_seats(paused=self.paused, limit=self.limit, leased=self.leased, quota=quota)
        return max(0, self.ready if seats is None else min(self.ready, seats))

    @property
    def demand(self) -> int:
        return self.may_start + max(0, self.leased)


def total_demand(total: Load, barred: Iterable[Load]) -> int:
    """Returns the demand of all accounts; `barred` has those with a pause, a limit or a quota."""
    waiting = sum(load.ready - load.may_start for load in barred)
    return total._replace(ready=max(0, total.ready - waiting)).demand
