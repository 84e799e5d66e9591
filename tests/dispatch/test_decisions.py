"""The arithmetic of dispatch: tags of fairness, start quotas, demand."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.dispatch import (
    MAX_TAG_GAP,
    MAX_WINDOW,
    MINUTE,
    REFILL_LIMIT,
    Flow,
    Load,
    StartQuota,
    Starts,
    allot,
    effective,
    refill,
    tag_space,
    tags,
    total_demand,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("finish", "count", "weight", "expected"),
    [(10.0, 3, 1.0, [7.0, 8.0, 9.0]), (4.0, 0, 1.0, []), (2.0, 4, 2.0, [0.0, 0.5, 1.0, 1.5])],
    ids=["from where its finish was", "no tasks", "of twice the weight twice as close"],
)
def test_tags_of_an_account(finish: float, count: int, weight: float, expected: list[float]) -> None:
    assert tags(finish, count, weight) == expected


@given(batches=st.lists(st.integers(1, 50), min_size=1, max_size=8), weight=st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]))
def test_batches_one_after_the_other_give_the_tags_of_one_batch(batches: list[int], weight: float) -> None:
    finish, all_tags = 0.0, []
    for count in batches:
        finish += count / weight
        all_tags += tags(finish, count, weight)
    assert all_tags == pytest.approx(tags(finish, sum(batches), weight))


@given(first=st.integers(1, 200), second=st.integers(1, 200))
def test_two_accounts_of_equal_weight_take_turns_whoever_came_first(first: int, second: int) -> None:
    order = sorted([(tag, "a") for tag in tags(first, first)] + [(tag, "b") for tag in tags(second, second)])
    both = order[: 2 * min(first, second)]
    assert [account for _, account in both] == ["a", "b"] * min(first, second)


WEIGHTS = st.sampled_from([0.001, 0.25, 1.0, 3.0, 1_000.0])


@given(now=st.floats(0, 1e9), weight=WEIGHTS)
def test_an_idle_account_can_fill_a_whole_window(now: float, weight: float) -> None:
    for finish in (0.0, now / 2, now):
        assert tag_space(finish, now, weight) == MAX_WINDOW


@given(now=st.floats(0, 1e6), weight=WEIGHTS, count=st.integers(0, 2 * MAX_WINDOW))
def test_tagged_tasks_are_no_further_ahead_than_the_window(now: float, weight: float, count: int) -> None:
    left = tag_space(now + count / weight, now, weight)
    assert left == pytest.approx(max(0, MAX_WINDOW - count), abs=1)


def test_a_window_wants_more_before_it_is_empty() -> None:
    full = tags(MAX_WINDOW, MAX_WINDOW)
    left = [tag for tag in full if tag >= refill(MAX_WINDOW, 1.0)]
    assert len(left) == REFILL_LIMIT


def line(priority: int, tagged: int, untagged: int, *, finish: float | None = None) -> Flow:
    return Flow(priority, float(tagged if finish is None else finish), 0.0, tagged, untagged)


@pytest.mark.parametrize(
    ("lines", "seats", "wanted"),
    [
        pytest.param([line(9, 0, 5), line(5, 2, 5)], None, [5, 7], id="no limit: all that the windows take"),
        pytest.param([line(9, 0, 5), line(5, 2, 5)], 8, [5, 3], id="the higher priority first"),
        pytest.param([line(9, 0, 5), line(5, 2, 5)], 4, [4, 0], id="it takes the seats of a lower one"),
        pytest.param([line(9, 3, 0), line(5, 2, 0)], 4, [3, 1], id="a lower limit takes the lowest away"),
        pytest.param([line(9, 3, 9), line(5, 2, 9)], 0, [0, 0], id="paused, or as many leases as seats"),
        pytest.param([line(37, 0, 9), line(5, 4, 9)], 5, [3, 2], id="worker selectors of a priority take turns"),
        pytest.param([line(21, 0, 1), line(5, 0, 9)], 5, [1, 4], id="one that needs less leaves the rest"),
        pytest.param([line(5 + 16, 0, 9), line(9, 0, 2)], 4, [2, 2], id="a selector is no priority"),
        pytest.param([line(9, MAX_WINDOW, 9), line(5, 0, 9)], None, [MAX_WINDOW, 9], id="a full window takes none"),
        pytest.param(
            [line(9, 0, 9, finish=MAX_WINDOW - 4), line(5, 0, 0)], None, [4, 0], id="free space is virtual time"
        ),
    ],
)
def test_seats_are_given_by_priority(lines: list[Flow], seats: int | None, wanted: list[int]) -> None:
    assert allot(lines, seats, 1.0) == wanted


LINES = st.lists(st.builds(line, st.just(5), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=10).map(
    lambda lines: [replace(flow, priority=10 - number) for number, flow in enumerate(lines)]
)


@given(lines=LINES, seats=st.integers(0, 200))
def test_no_more_seats_are_given_than_there_are_and_none_is_kept_back(lines: list[Flow], seats: int) -> None:
    wanted = allot(lines, seats, 1.0)
    waiting = [flow.tagged + flow.untagged for flow in lines]
    assert sum(wanted) == min(seats, sum(waiting))
    for higher, (given_, all_) in enumerate(zip(wanted, waiting, strict=True)):
        assert given_ == all_ or not any(wanted[higher + 1 :])


@given(lines=LINES, seats=st.one_of(st.none(), st.integers(0, 200)))
def test_the_allotment_is_stable(lines: list[Flow], seats: int | None) -> None:
    """Else tags would be taken and given for ever."""
    wanted = allot(lines, seats, 1.0)
    then = [line(flow.priority, n, flow.tagged + flow.untagged - n) for flow, n in zip(lines, wanted, strict=True)]
    assert allot(then, seats, 1.0) == wanted


AGING = 60.0


@pytest.mark.parametrize(
    ("priority", "wait", "aging", "competes_as"),
    [
        pytest.param(3, 59.9, AGING, 3, id="a step takes its time"),
        pytest.param(3, 60.0, AGING, 4, id="one step"),
        pytest.param(3, 179.9, AGING, 5, id="two"),
        pytest.param(3, 420.0, AGING, 10, id="as many as there are"),
        pytest.param(3, 1e9, AGING, 10, id="no more"),
        pytest.param(10, 1e9, AGING, 10, id="the highest has none"),
        pytest.param(3, -600.0, AGING, 3, id="none down, where a clock was set back"),
        pytest.param(3, 1e9, 0.0, 3, id="off"),
    ],
)
def test_a_task_competes_higher_the_longer_it_waits(priority: int, wait: float, aging: float, competes_as: int) -> None:
    assert effective(priority, wait, aging) == competes_as


def old(priority: int, tagged: int, untagged: int, *waits: float) -> Flow:
    return Flow(priority, float(tagged), 0.0, tagged, untagged, waits=waits)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        pytest.param([old(8, 3, 5), old(1, 0, 5)], [3, 0], id="young: by priority"),
        pytest.param([old(8, 3, 5), old(1, 0, 5, 419)], [3, 0], id="not old enough"),
        pytest.param([old(8, 3, 5), old(1, 0, 5, 420)], [2, 1], id="a tie: the longest wait"),
        pytest.param([old(8, 3, 5, 60), old(1, 0, 5, 480)], [2, 1], id="the higher one has grown older too"),
        pytest.param([old(8, 3, 5, 60, 60), old(1, 0, 5, 420, 420)], [2, 1], id="and is ahead"),
        pytest.param([old(8, 3, 5, 700, 500), old(1, 0, 5, 900, 600)], [1, 2], id="at ten the longest waits"),
        pytest.param([old(8, 3, 5), old(1, 0, 1, 900, 900, 900)], [2, 1], id="no more than there are"),
    ],
)
def test_three_seats_are_given_to_those_that_compete_highest(lines: list[Flow], wanted: list[int]) -> None:
    assert allot(lines, 3, 1.0, AGING) == wanted


@st.composite
def aged_lines(draw: st.DrawFn) -> list[Flow]:
    """Lines of different priorities, highest first, of which some tasks have waited for a step or more."""
    priorities = sorted(draw(st.sets(st.integers(1, 10), min_size=1)), reverse=True)
    waits = st.lists(st.floats(AGING, 20 * AGING), max_size=12)
    counts = st.integers(0, 12)
    return [old(priority, draw(counts), draw(counts), *sorted(draw(waits), reverse=True)) for priority in priorities]


@given(lines=aged_lines(), seats=st.integers(0, 60))
def test_the_allotment_by_age_is_stable(lines: list[Flow], seats: int) -> None:
    wanted = allot(lines, seats, 1.0, AGING)
    assert sum(wanted) == min(seats, sum(flow.tagged + flow.untagged for flow in lines))
    then = [
        old(flow.priority, n, flow.tagged + flow.untagged - n, *flow.waits)
        for flow, n in zip(lines, wanted, strict=True)
    ]
    assert allot(then, seats, 1.0, AGING) == wanted


@given(priority=st.integers(1, 8), every=st.floats(1.0, 50.0), seats=st.integers(1, 3))
def test_no_stream_of_a_higher_priority_keeps_a_seat_from_a_task_for_ever(
    priority: int, every: float, seats: int
) -> None:
    """As many of priority 9 come as end, each `every` seconds, and one more always waits."""
    steps = 9 - priority
    waited = 0.0
    while allot([old(9, seats, 1), old(priority, 0, 1, *[waited] * (waited >= AGING))], seats, 1.0, AGING)[1] == 0:
        waited += every
        assert waited < steps * AGING + every


@pytest.mark.parametrize("weight", [0.25, 1.0, 4.0])
def test_tags_are_bent_once_more_have_left_than_a_few(weight: float) -> None:
    for left, bent in ((MAX_TAG_GAP, False), (MAX_TAG_GAP + 1, True)):
        assert Flow(5, 100 / weight, 0.0, 100 - left, 0).has_tag_gap(weight) is bent


class Queue:
    """Accounts with endless backlogs behind windows that are filled as they run short, served in the order of tags."""

    def __init__(self, weights: dict[str, float]) -> None:
        self._weights = weights
        self._finish = dict.fromkeys(weights, 0.0)
        self._waiting: list[tuple[float, str]] = []
        for account in weights:
            self._fill(account)

    def _fill(self, account: str) -> None:
        weight, now = self._weights[account], self._waiting[0][0] if self._waiting else 0.0
        count = tag_space(self._finish[account], now, weight)
        self._finish[account] = max(self._finish[account], now) + count / weight
        for tag in tags(self._finish[account], count, weight):
            heapq.heappush(self._waiting, (tag, account))

    def serve(self) -> str:
        tag, account = heapq.heappop(self._waiting)
        if tag >= refill(self._finish[account], self._weights[account]):
            self._fill(account)
        return account


@given(weights=st.permutations([1.0, 2.0, 4.0]))
def test_long_backlogs_are_served_by_weight_in_every_window_of_70(weights: list[float]) -> None:
    by_account = dict(zip("abc", weights, strict=True))
    queue = Queue(by_account)
    order = [queue.serve() for _ in range(5 * MAX_WINDOW)]
    for account, weight in by_account.items():
        served = list(accumulate((turn == account for turn in order), initial=0))
        windows = Counter(served[i + 70] - served[i] for i in range(len(order) - 70))
        assert max(abs(count - 10 * weight) for count in windows) <= weight  # 10%


# How many attempts an account may start now, by what it has started within the last minute.


T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def quota(most: int, now: float, admitted: int = 0, *starts: tuple[float, int]) -> StartQuota:
    return StartQuota(most, at(now), admitted, [Starts(at(time), number) for time, number in starts])


@pytest.mark.parametrize(
    ("before", "tagged", "seats", "next_seat"),
    [
        pytest.param(quota(5, 0), 0, 5, None, id="without starts it has all seats"),
        pytest.param(quota(5, 10, 3), 1, 3, 60, id="a task that lost its tag counts as started"),
        pytest.param(quota(2, 70, 0, (10, 1), (10.5, 1)), 0, 1, 0.5, id="a seat comes back after a minute"),
        pytest.param(quota(5, 0, 1), 4, 5, None, id="more tags, of a version without quotas, are no starts"),
        pytest.param(quota(2, 1, 0, (0, 5)), 0, 0, 59, id="a smaller quota leaves no seat"),
        pytest.param(quota(1, -3600, 0, (0, 1)), 0, 0, 60, id="a clock set back keeps a seat for a minute at most"),
    ],
)
def test_the_seats_of_a_quota(before: StartQuota, tagged: int, seats: int, next_seat: float | None) -> None:
    counted = before.counted(tagged)
    assert (counted.seats, counted.next_seat) == (seats, next_seat)


def test_the_starts_of_a_second_stand_together_with_the_latest_time() -> None:
    counted = quota(9, 10.7, 2, (9.9, 1), (10.1, 1)).counted(0)
    assert counted.starts == [Starts(at(9.9), 1), Starts(at(10.7), 3)]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 20)), max_size=60), st.integers(1, 30))
def test_never_more_than_the_quota_within_a_minute(steps: list[tuple[float, int]], most: int) -> None:
    """Each step admits what it may, and so many of those are claimed until the next one."""
    state, now, started = quota(most, 0), 0.0, []
    for wait, claims in steps:
        now += wait
        before = state.admitted
        tagged = max(0, before - claims)
        started += [now] * (before - tagged)
        counted = StartQuota(most, at(now), before, state.starts).counted(tagged)
        assert len(counted.starts) <= MINUTE.total_seconds() + 1
        state = StartQuota(most, at(now), max(tagged, counted.seats), counted.starts)
        assert sum(time > now - MINUTE.total_seconds() for time in started) <= most


# The demand for workers, from counts, pauses, limits and quotas.


@pytest.mark.parametrize(
    ("load", "may_start"),
    [
        (Load(5, 2), 5),
        (Load(5, 2, paused=True), 0),
        (Load(5, 2, limit=4), 2),
        (Load(1, 2, limit=4), 1),
        (Load(5, 6, limit=4), 0),
        (Load(5, 0, quota=quota(3, 0)), 3),
        (Load(5, 0, quota=quota(3, 0, 0, (-61, 3), (-59, 1))), 2),
        (Load(5, 0, quota=quota(3, 0, 0, (-30, 7))), 0),
        (Load(5, 3, limit=4, quota=quota(3, 0)), 1),
        (Load(-1, 0), 0),
    ],
)
def test_what_may_start_is_bounded_by_all_that_bars_it(load: Load, may_start: int) -> None:
    assert load.may_start == may_start
    assert load.demand == may_start + load.leased


@pytest.mark.parametrize(
    ("everything", "barred", "demand"),
    [
        pytest.param(Load(20, 5), [Load(4, 1, limit=2), Load(10, 2, paused=True)], 12, id="what may start, or runs"),
        pytest.param(Load(20, 5), [], 25, id="nothing is barred"),
        pytest.param(Load(20, 5, paused=True), [Load(4, 1, limit=2)], 5, id="a pause of everything leaves what runs"),
        pytest.param(Load(2, -1), [Load(4, 0, paused=True)], 0, id="counts that are off for a moment"),
    ],
)
def test_the_demand_of_all(everything: Load, barred: list[Load], demand: int) -> None:
    assert total_demand(everything, barred) == demand
