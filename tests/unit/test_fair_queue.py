"""Callers share the groups of a lane."""

from __future__ import annotations

from typing import NamedTuple

from scheduler_svc.runtime.fairness import FairQueue


class Entry(NamedTuple):
    who: str
    number: int
    weight: int = 1
    since: float = 0.0


def filled(*entries: Entry, most: int = 100, share: int = 10) -> FairQueue[Entry]:
    queue: FairQueue[Entry] = FairQueue(max_weight=most, share=share)
    for entry in entries:
        queue.put(entry.who, entry)
    return queue


def many(who: str, count: int, weight: int = 1) -> list[Entry]:
    return [Entry(who, n, weight) for n in range(count)]


def group(queue: FairQueue[Entry]) -> list[Entry]:
    return queue.take(0)[0]


def test_one_caller_alone_fills_groups_in_the_order_of_its_calls() -> None:
    entries = many("a", 250)
    queue = filled(*entries)
    assert [group(queue) for _ in range(4)] == [entries[:100], entries[100:200], entries[200:], []]


def test_a_caller_with_few_items_joins_the_next_group_and_the_group_is_small() -> None:
    queue = filled(*many("a", 1_000), Entry("b", 0))
    first = group(queue)
    assert Entry("b", 0) in first
    assert len(first) == 11
    assert len(group(queue)) == 100


def test_entries_share_by_weight() -> None:
    queue = filled(*many("a", 5, weight=50), *many("b", 20))
    first = group(queue)
    assert [entry for entry in first if entry.who == "a"] == [Entry("a", 0, 50)]
    assert [entry for entry in first if entry.who == "b"] == many("b", 20)[:10]


def test_more_callers_than_a_group_holds_have_turns() -> None:
    callers = [f"caller {n}" for n in range(250)]
    queue = filled(*(Entry(who, n) for n in range(2) for who in callers))
    served = [entry for _ in range(5) for entry in group(queue)]
    assert [entry.who for entry in served] == callers * 2


def test_older_entries_of_all_callers_are_taken() -> None:
    queue = filled(*(Entry(who, n, since=n) for who in "ab" for n in range(4)))
    older = queue.take_older(2)
    assert older == [Entry(who, n, since=n) for who in "ab" for n in range(2)]
    assert {entry.number for entry in group(queue)} == {2, 3}


def test_a_closed_queue_is_emptied_before_it_ends() -> None:
    queue = filled(*many("a", 150))
    queue.close()
    assert [(len(entries), more) for entries, more in (queue.take(None), queue.take(None))] == [
        (100, True),
        (50, False),
    ]
    assert queue.take(None) == ([], False)
