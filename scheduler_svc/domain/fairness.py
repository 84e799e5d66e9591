"""The order of dispatch: start-time fair queueing between accounts, within a bounded window of each.

Within a priority each account has a virtual finish, and the priority a virtual time, which is the smallest tag that
waits (or, when none does, the largest finish). A task's tag is the larger of the two; its account's finish is then
one share further. Serving in the order of the tags is fair, and an account that was idle gains no credit: it starts
at the virtual time. Source: Goyal, Vin, Cheng, "Start-time Fair Queueing", 1997.

Only what may run soon has a tag: of each account and priority about `WINDOW` tasks, of one with a limit or a quota of
starts no more than it has free seats, of a paused one none. The rest waits without, oldest first, and is let in as the
others leave.

Where priorities rise with the wait, a task competes by its priority and a step more for each `aging` seconds that it
has been ready. That changes which priority is served, never the order within one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from scheduler_svc.domain.bounds import MAX_PRIORITY

WINDOW = 3_000
"""How far, in shares, an account's tags may run ahead of a priority's virtual time: about as many tasks."""
REFILL = 2_000
"""The shares ahead below which a window with tasks behind it is filled again."""
URGENT = 1_000
"""The shares ahead below which the next claim waits for that: it may take as many tasks."""
REFILL_ALWAYS = float("-inf")
"""The tag from which on a claim says so, where each has to: the starts of its account are counted."""
MAX_TAG_GAP = 32
"""Shares that an account's tags may be further ahead than its tasks are many: what left without being served."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The tasks of one account and priority at one moment: how many have a tag, and how many wait for one.

    `finish` is the account's virtual finish there, `now` the virtual time of the priority. `waits` are the seconds for
    which those of them have waited that compete above their priority, longest first; none where priorities don't rise.
    """

    priority: int
    finish: float
    now: float
    tagged: int
    untagged: int
    waits: Sequence[float] = ()

    def window_limit(self, weight: float) -> int:
        """How many tasks the window holds or could hold now, were there seats for all of them."""
        return self.tagged + min(self.untagged, tag_space(self.finish, self.now, weight))

    def has_tag_gap(self, weight: float) -> bool:
        """Whether so many left without being served that the others would wait too long for their turns."""
        return (self.finish - self.now) * weight > self.tagged + MAX_TAG_GAP


def tags(finish_after: float, count: int, weight: float = 1.0) -> list[float]:
    """The tags of `count` tasks of one account, oldest first, where its finish has become `finish_after`."""
    share = 1.0 / weight
    start = finish_after - count * share
    return [start + i * share for i in range(count)]


def tag_space(finish: float, now: float, weight: float) -> int:
    """How many tasks of an account get a tag that is less than `WINDOW` of its shares ahead of the virtual time."""
    return max(0, ceil(WINDOW - (max(finish, now) - now) * weight))


def refill(finish: float, weight: float) -> float:
    """The tag that, once it is claimed, leaves a window with tasks behind it with few ahead."""
    return finish - REFILL / weight


def effective(priority: int, wait: float, aging: float) -> int:
    """The priority by which a task competes after so many seconds; `aging` 0: always its own.

    A claim computes the same, in `store/ageing.py`.
    """
    return min(MAX_PRIORITY, priority + int(max(0.0, wait) // aging)) if aging else priority


class _Bid(NamedTuple):
    """Tasks of one line that compete alike."""

    effective: int
    wait: float
    line: int
    tasks: int


def allot(flows: Sequence[Flow], seats: int | None, weight: float, aging: float = 0.0) -> list[int]:
    """How many tasks of each line should have a tag, where so many seats are free for them; None means no limit.

    Lines stand in the order of their priorities. Those tasks get the seats that compete highest, and between equals
    those that have waited longest, whatever has a tag already: so what was given is given again. The first of a line
    has the longest wait in it, and so on: its order is its own.
    """
    if seats is None:
        return [line.window_limit(weight) for line in flows]
    wanted = [0] * len(flows)
    bids = [bid for number, line in enumerate(flows) for bid in _bids(number, line, line.window_limit(weight), aging)]
    for bid in sorted(bids, key=lambda bid: (-bid.effective, -bid.wait, bid.line)):
        count = min(bid.tasks, seats)
        wanted[bid.line] += count
        seats -= count
    return wanted


def _bids(number: int, line: Flow, most: int, aging: float) -> Iterator[_Bid]:
    waits = line.waits[:most]
    for wait in waits:
        yield _Bid(effective(line.priority, wait, aging), wait, number, 1)
    yield _Bid(line.priority, 0.0, number, most - len(waits))
