"""Callers share threads and groups, and work that can wait leaves time to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Event, Lock
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.runtime import calls as pacing
from scheduler_svc.runtime.calls import INTERNAL_CALLER, FairExecutor, FairQueue
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.unit


# Callers share threads: who holds the fewest is next, and nobody holds them all.


class Work:
    """Calls that run until they are let go; which have begun, in order."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._lock = Lock()
        self._ends: dict[str, Event] = {}

    def call(self, name: str) -> Callable[[], str]:
        self._ends[name] = Event()

        def run() -> str:
            with self._lock:
                self.begun.append(name)
            assert self._ends[name].wait(PATIENCE_S)
            return name

        return run

    def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()

    def end_all(self) -> None:
        self.end(*self._ends)

    def until_begun(self, *names: str) -> None:
        wait_until(lambda: len(self.begun) >= len(names), within=PATIENCE_S, what=f"{names} have begun")
        assert sorted(self.begun) == sorted(names)


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    work.end_all()


def submit(turns: FairExecutor, work: Work, *names: str) -> list[Future[Any]]:
    """Calls whose caller is their name without its number."""
    return [turns.submit(name.rstrip("0123456789"), work.call(name)) for name in names]


def test_callers_take_turns_however_many_calls_one_of_them_makes(work: Work) -> None:
    turns = FairExecutor(1)
    submit(turns, work, "a1")
    work.until_begun("a1")
    submit(turns, work, "a2", "a3", "a4", "b1", "b2", "c1")
    work.end_all()
    turns.close()
    assert work.begun == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


def test_a_thread_goes_to_who_holds_the_fewest(work: Work) -> None:
    turns = FairExecutor(4)
    submit(turns, work, "a1", "a2", "a3", "a4", "a5")
    work.until_begun("a1", "a2", "a3")
    submit(turns, work, "b1", "b2", "b3")
    work.until_begun("a1", "a2", "a3", "b1")
    work.end("a1")
    work.until_begun("a1", "a2", "a3", "b1", "b2")
    work.end_all()
    turns.close()
    assert len(work.begun) == 8


def test_one_thread_is_kept_from_each_caller(work: Work) -> None:
    turns = FairExecutor(3)
    submit(turns, work, *(f"a{i}" for i in range(100)))
    work.until_begun("a0", "a1")
    (cheap,) = submit(turns, work, "b")
    work.end("b")
    assert cheap.result(PATIENCE_S) == "b"
    assert work.begun == ["a0", "a1", "b"]
    work.end_all()
    turns.close()


def test_the_replica_itself_may_have_all_threads(work: Work) -> None:
    turns = FairExecutor(2)
    for name in "xyz":
        turns.submit(INTERNAL_CALLER, work.call(name))
    work.until_begun("x", "y")
    work.end_all()
    turns.close()
    assert work.begun == ["x", "y", "z"]


def test_work_cancelled_or_refused_before_its_turn_never_runs(work: Work) -> None:
    turns = FairExecutor(1)
    runs, cancelled, refused, last = submit(turns, work, "a1", "a2", "a3", "a4")
    work.until_begun("a1")
    cancelled.cancel()
    for call in (runs, refused, refused):
        turns.refuse("a", call, TimeoutError("it took too long"))
    work.end_all()
    assert isinstance(refused.exception(PATIENCE_S), TimeoutError)
    assert (runs.result(PATIENCE_S), last.result(PATIENCE_S)) == ("a1", "a4")
    turns.refuse("a", last, TimeoutError())
    turns.close()
    assert work.begun == ["a1", "a4"]


def test_an_error_is_its_caller_s_and_the_thread_goes_on(work: Work) -> None:
    turns = FairExecutor(1)
    failed, (after,) = turns.submit("a", dict[str, str]().popitem), submit(turns, work, "a1")
    work.end_all()
    assert isinstance(failed.exception(PATIENCE_S), KeyError)
    assert after.result(PATIENCE_S) == "a1"
    turns.close()


@given(
    threads=st.integers(1, 4), whose=st.lists(st.sampled_from("abc"), max_size=30), given_up=st.sets(st.integers(0, 29))
)
def test_whatever_comes_all_of_it_runs_in_each_caller_s_order(
    threads: int, whose: list[str], given_up: set[int]
) -> None:
    turns, ran, lock = FairExecutor(threads), list[int](), Lock()

    def call(number: int) -> Callable[[], None]:
        def run() -> None:
            with lock:
                ran.append(number)

        return run

    calls = [turns.submit(who, call(number)) for number, who in enumerate(whose)]
    cancelled = {number for number, future in enumerate(calls) if number in given_up and future.cancel()}
    turns.close()
    assert sorted(ran) == sorted(set(range(len(whose))) - cancelled)
    if threads <= 2:  # else two of a caller's may run at once
        for who in "abc":
            own = [number for number in ran if whose[number] == who]
            assert own == sorted(own)


# Callers share the groups of a lane.


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
    taken = [queue.take(None) for _ in range(3)]
    assert [(len(entries), more) for entries, more in taken] == [(100, True), (50, False), (0, False)]


# Work that can wait leaves as much time to others as it took.


class SleepingClock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SleepingClock:
    clock = SleepingClock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(pacing, "sleep", clock.sleep)
    return clock


async def test_it_pauses_for_as_long_as_a_batch_took(clock: SleepingClock) -> None:
    async def batch() -> str:
        clock.now += 2.5
        return "done"

    assert await pacing.timed(batch()) == ("done", 2.5)
    assert clock.slept == []
    paced = pacing.Pacing()
    assert [await paced.run(batch) for _ in range(3)] == ["done"] * 3
    assert clock.slept == [0.0, 2.5, 2.5], "nobody waits before the first one, or after the last"


async def test_a_batch_that_fails_is_not_waited_for(clock: SleepingClock) -> None:
    async def batch() -> str:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await pacing.Pacing().run(batch)
    assert clock.slept == [0.0]
