"""The order of the ready table: start-time fair queueing between accounts, decided when a task becomes ready.

Within a priority each account has a virtual finish, and the priority a virtual time, which is the smallest tag that
waits (or, when none does, the largest finish). A task's tag is the larger of the two; its account's finish is then
one share further. Serving in the order of the tags is fair, and an account that was idle gains no credit: it starts
at the virtual time. Source: Goyal, Vin, Cheng, "Start-time Fair Queueing", 1997.
"""

from __future__ import annotations


def tags(finish_after: float, count: int, weight: float = 1.0) -> list[float]:
    """The tags of `count` tasks of one account, oldest first, where its finish has become `finish_after`."""
    share = 1.0 / weight
    start = finish_after - count * share
    return [start + i * share for i in range(count)]
