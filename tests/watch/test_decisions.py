"""What is kept and sent to watchers, up to which number, and what NOTIFY says of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.account import ALL
from scheduler_svc.domain.change import Snapshot, TaskChange, Watermark
from scheduler_svc.domain.errors import ShuttingDown, WatchOverrun
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import Task
from scheduler_svc.runtime.calls import CALLER
from scheduler_svc.runtime.signals import CommitSignals, parse
from scheduler_svc.watch import watchers as sending
from scheduler_svc.watch.watchers import MAX_BUFFER, Overrun, RecentChanges, SendQueue, Watcher
from scheduler_svc.watch.work import Selection
from tests.harness.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


# What is kept of changes for the watchers of one selection, and for how long.


@pytest.fixture
def recent() -> RecentChanges:
    return RecentChanges(Selection(scope=ALL), ALL)


def joined(recent: RecentChanges) -> Watcher:
    watcher = Watcher(recent, SendQueue(), lambda: None)
    recent.join(watcher)
    return watcher


def offered(recent: RecentChanges, *numbers: int) -> None:
    for number in numbers:
        recent.offer(TaskChange(number, cast(Task, None), Status.NONE, datetime(2026, 1, 1, tzinfo=UTC), False))


def kept(recent: RecentChanges) -> list[int]:
    return [selected.change.number for selected in recent._changes]


async def read(watcher: Watcher, count: int) -> list[int]:
    return [(await watcher.next()).change.number for _ in range(count)]


async def test_what_all_have_read_is_not_kept(recent: RecentChanges) -> None:
    fast, slow = joined(recent), joined(recent)
    offered(recent, 1, 2, 3)
    assert await read(fast, 3) == [1, 2, 3]
    assert kept(recent) == [1, 2, 3]
    assert await read(slow, 2) == [1, 2]
    assert kept(recent) == [3]
    late = joined(recent)
    offered(recent, 4)
    assert await read(slow, 2) == [3, 4]
    assert kept(recent) == [4]
    assert await read(late, 1) == await read(fast, 1) == [4]
    assert not kept(recent)


@pytest.mark.parametrize("end", [RecentChanges.leave, lambda _, watcher: watcher.fail(ShuttingDown())])
async def test_nothing_is_kept_for_a_watcher_that_has_ended(recent: RecentChanges, end: object) -> None:
    reader, ended = joined(recent), joined(recent)
    offered(recent, 1, 2, 3)
    assert await read(reader, 2) == [1, 2]
    assert callable(end)
    end(recent, ended)
    assert kept(recent) == [3]
    offered(recent, 4)
    recent.leave(ended)
    assert await read(reader, 2) == [3, 4]
    assert not kept(recent)


async def test_a_watcher_too_far_behind_is_cut_off_and_nothing_is_kept_for_it(recent: RecentChanges) -> None:
    reader, idle = joined(recent), joined(recent)
    offered(recent, *range(MAX_BUFFER))
    assert await read(reader, MAX_BUFFER) == list(range(MAX_BUFFER))
    assert not idle.failed
    offered(recent, MAX_BUFFER)
    assert idle.failed
    assert kept(recent) == [MAX_BUFFER]
    with pytest.raises(Overrun):
        await idle.next()
    assert await read(reader, 1) == [MAX_BUFFER]


# Whose change is sent next, and whose watches end where the event loop lags.


MANY, FEW = 200, 5


@asynccontextmanager
async def watches(queue: SendQueue, **counts: int) -> AsyncIterator[None]:
    """So many watches of each caller, for a bounded time."""
    async with asyncio.timeout(PATIENCE_S):
        with ExitStack() as stack:
            for caller, count in counts.items():
                CALLER.set(caller)
                for _ in range(count):
                    stack.enter_context(queue.watch())
            yield


def queued(queue: SendQueue, caller: str, count: int, order: list[str]) -> list[asyncio.Future[None]]:
    """So many turns, each of which adds its caller to `order`."""
    turns = [asyncio.get_running_loop().create_future() for _ in range(count)]
    for turn in turns:
        turn.add_done_callback(lambda _: order.append(caller))
        queue.put(caller, turn)
    return turns


async def test_callers_take_turns_however_much_one_of_them_has_to_send() -> None:
    queue, order = SendQueue(), list[str]()
    async with watches(queue, a=2, b=2):
        await asyncio.gather(*queued(queue, "a", MANY, order), *queued(queue, "b", FEW, order))
    first_of_b = order.index("b")
    assert order[first_of_b : first_of_b + 2 * FEW].count("b") >= FEW - 1
    assert order.count("a") == MANY


async def test_a_caller_with_one_watch_waits_for_nobody() -> None:
    queue, order = SendQueue(), list[str]()
    async with watches(queue, a=2, b=1):
        flood = queued(queue, "a", MANY, order)
        assert all(turn.done() for turn in queued(queue, "b", FEW, order))
        assert not flood[-1].done()
        await asyncio.gather(*flood)


async def test_a_turn_that_nobody_waits_for_any_more_is_passed_over() -> None:
    queue = SendQueue()
    async with watches(queue, a=2):
        turns = queued(queue, "a", MANY, [])
        for turn in turns[:-1]:
            turn.cancel()
        await turns[-1]


@pytest.mark.parametrize(
    ("most", "rises"), [(float("inf"), True), (-1, False)], ids=["as long as rounds are short", "not beyond that"]
)
async def test_the_budget_rises(monkeypatch: pytest.MonkeyPatch, most: float, rises: bool) -> None:
    monkeypatch.setattr(sending, "MAX_ROUND", most)
    queue = SendQueue()
    async with watches(queue, a=2):
        await asyncio.gather(*queued(queue, "a", MANY, []))
    if rises:
        assert sending.FIRST_SENDS < queue.budget <= sending.MAX_SENDS
    else:
        assert queue.budget == sending.MIN_SENDS


async def test_the_largest_caller_s_watches_end_where_the_event_loop_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MAX_LATENESS", -1)
    monkeypatch.setattr(sending, "LATENESS_TIMEOUT", 0)
    monkeypatch.setattr(sending, "MAX_SENDS", 0)
    queue, order, ended = SendQueue(), list[str](), asyncio.get_running_loop().create_future()
    queue.on_overrun = ended.set_result
    async with watches(queue, a=2, b=2):
        few, many = queued(queue, "b", FEW, order), queued(queue, "a", MANY, order)
        assert await ended == "a"
        errors = [turn.exception() for turn in many]
        assert all(isinstance(error, Overrun) and error.kind is WatchOverrun for error in errors)
        assert not any(turn.done() for turn in few)
        monkeypatch.undo()
        await asyncio.gather(*few)
    with pytest.raises(Overrun):
        await many[0]


# Up to which number moves are settled, for transactions that draw and commit in any order.


def test_the_watermark_advances_although_some_transaction_always_runs() -> None:
    """Each look finds another one that has drawn, until the last one finds none."""
    watermark = Watermark()
    looks = [Snapshot(1, frozenset("a")), Snapshot(2, frozenset("b")), Snapshot(3, frozenset("c"))]
    assert [watermark.settled(look) for look in (*looks, Snapshot(3, frozenset()))] == [None, 1, 2, 3]


def look(last: int, running: Mapping[str, Sequence[int]]) -> Snapshot:
    """After `last` was read; `running`: the numbers that each transaction has drawn."""
    return Snapshot(last, frozenset(name for name, numbers in running.items() if numbers))


def test_no_number_up_to_the_settled_one_is_still_to_come() -> None:
    for seed in range(200):
        dice, watermark = random.Random(seed), Watermark()
        running: dict[str, list[int]] = {}
        last = 0
        for step in range(100):
            match dice.choice(["begin", "draw", "draw", "commit", "look"]):
                case "begin":
                    running[str(step)] = []
                case "draw" if running:
                    last += 1
                    dice.choice([*running.values()]).append(last)
                case "commit" if running:
                    del running[dice.choice([*running])]
                case "look":
                    read = last
                    for meanwhile in range(dice.randint(0, 2)):  # others draw between its two steps
                        last += 1
                        running[f"{step}-{meanwhile}"] = [last]
                    settled = watermark.settled(look(read, running)) or 0
                    uncommitted = {number for numbers in running.values() for number in numbers}
                    assert min(uncommitted, default=last + 1) > settled
        assert watermark.settled(look(last, {})) == last


# Notifications: each fits into what NOTIFY takes, and together they say all that was to be told.


NOTIFY_BYTES = 8_000
ORIGIN = "a-host-name-of-sixty-three-characters-which-is-the-most-there-is-12345678"
FLAGS = ("ready", "due", "moved", "watching", "limits", "schedules", "webhooks", "missed")
LISTS = ("ended", "cancelled", "drained", "resized", "polled", "answered")
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)
commands = st.tuples(names, st.just("lease-0123456789abcdef-01234567"), st.just("CANCELLED_BY_CLIENT"))
numbers = st.tuples(names, st.integers(1, KEY_MAX))
signals = st.builds(
    CommitSignals,
    **dict.fromkeys(FLAGS, st.booleans()),
    ended=st.lists(st.integers(1, KEY_MAX), max_size=400),
    cancelled=st.lists(commands, max_size=8),
    drained=st.lists(names, max_size=8),
    resized=st.lists(numbers, max_size=8),
    polled=st.lists(numbers, max_size=20),
    answered=st.lists(numbers, max_size=20),
    admit=st.sets(st.integers(1, 9)),
)


@given(signals)
def test_signals_arrive_whole(signals: CommitSignals) -> None:
    heard = CommitSignals()
    for payload in signals.payloads(ORIGIN):
        origin, part = parse(payload)
        assert origin == ORIGIN
        for flag in FLAGS:
            assert getattr(part, flag) == getattr(signals, flag)
        assert not part.admit
        for kind in LISTS:
            getattr(heard, kind).extend(getattr(part, kind))
    assert [getattr(heard, kind) for kind in LISTS] == [getattr(signals, kind) for kind in LISTS]


def test_the_longest_of_all_fit() -> None:
    for longest in ("\x01" * 200, "😀" * 200, '"' * 200):
        command = (longest, "lease-0123456789abcdef-01234567", "CANCELLED_BY_CLIENT")
        number = (longest, KEY_MAX)
        lists = ([KEY_MAX] * 1_000, [command] * 50, [longest] * 50, [number] * 50, [number] * 50, [number] * 50)
        commit = CommitSignals(False, False, *lists)
        assert max(len(payload.encode()) for payload in commit.payloads(ORIGIN)) < NOTIFY_BYTES


@given(st.lists(signals, max_size=3))
def test_merged_signals_have_the_content_of_each(all_of_them: list[CommitSignals]) -> None:
    added = CommitSignals()
    for part in all_of_them:
        added.add(part)
    for flag in FLAGS:
        assert getattr(added, flag) == any(getattr(commit, flag) for commit in all_of_them)
    for kind in LISTS:
        assert getattr(added, kind) == [item for commit in all_of_them for item in getattr(commit, kind)]
    assert added.items == sum(len(getattr(commit, kind)) for commit in all_of_them for kind in LISTS)


def test_a_replica_of_the_version_before_looks_anew_too() -> None:
    """It does not know that flag, but all of the others."""
    (payload,) = CommitSignals.reread_all().payloads(ORIGIN)
    document = json.loads(payload)
    assert [document[flag] for flag in ("ready", "due", "moved", "limits")] == [True] * 4


def test_signals_are_false_without_content_and_a_replica_s_own_work_is_none_to_others() -> None:
    for nothing in (CommitSignals(), CommitSignals(moved=True)):
        assert not nothing
    for signals in (
        *(CommitSignals(ready=True), CommitSignals(due=True), CommitSignals(watching=True), CommitSignals(limits=True)),
        *(CommitSignals(ended=[1]), CommitSignals(drained=["w"]), CommitSignals(resized=[("w", 1)])),
        *(CommitSignals(polled=[("w", 1)]), CommitSignals(answered=[("w", 1)])),
    ):
        assert signals
        assert signals.for_others
    for own in (CommitSignals(admit={1}), CommitSignals(released={1})):
        assert own
        assert not own.for_others


def test_a_replica_that_tells_less_is_understood() -> None:
    """It may have moved something, which it does not say."""
    earlier = '{"from":"a","ready":true,"due":false,"ended":[1],"cancelled":[],"drained":["w"]}'
    assert parse(earlier) == ("a", CommitSignals(ready=True, ended=[1], drained=["w"], moved=True))


def test_a_thousand_workers_are_told_of_in_a_few_texts() -> None:
    commit = CommitSignals(polled=[(f"worker-{n}.example.com", n) for n in range(1_000)])
    assert len(commit.payloads(ORIGIN)) <= 10
