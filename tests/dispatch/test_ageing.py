"""Priorities that rise with the wait: the order of claims, and which tasks get the few seats of an account.

Time is moved by SQL: a task of so many steps has waited a moment longer than they take.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_svc.dispatch.admission import settle
from scheduler_svc.dispatch.sql.claim import MIN_EXAMINED
from scheduler_svc.dispatch.work import raise_floors
from scheduler_svc.domain.dispatch import MAX_WINDOW, effective
from scheduler_svc.domain.lease import Release
from tests.harness.cluster import Databases, SharedDatabase
from tests.harness.scheduling import RESULT, Scheduling, claims, new_task, released

pytestmark = pytest.mark.integration

STEP = 60.0
"""Seconds of wait that raise the priority by one."""
EVERYTHING = 1_000


@pytest.fixture
def ageing(shared_database: SharedDatabase) -> Iterator[Scheduling]:
    scheduling = Scheduling(shared_database.engine, 100_000, aging=STEP)
    yield scheduling
    scheduling.check()


@pytest.fixture(scope="module")
def shared(databases: Databases, template: str) -> Iterator[Scheduling]:
    """One database for all examples: each leaves no waiting task."""
    with databases.lent(template) as url, closing(Scheduling(url, aging=STEP)) as scheduling:
        yield scheduling


def waiting(
    scheduling: Scheduling, priority: int, steps: float = 0, *, account_id: int = 1, count: int = 1
) -> list[int]:
    """The keys of tasks that have been ready for that many steps and a moment, oldest first."""
    keys = scheduling.fill(account_id, count, priority=priority)
    scheduling.age(steps * STEP + 1, *keys)
    return keys


def order(scheduling: Scheduling, count: int = EVERYTHING) -> list[int]:
    """The keys of the tasks that one claim takes, in its order."""
    return [ref.task_key for ref in scheduling.claim(count)]


def tags(scheduling: Scheduling) -> list[tuple[int, float]]:
    return sorted(map(tuple, scheduling.sql("SELECT task_key, tag FROM ready WHERE tag IS NOT NULL")))


def seated(scheduling: Scheduling) -> set[int]:
    """The keys of tasks that may be claimed after the requested admissions."""
    scheduling.admit()
    return {key for key, _ in tags(scheduling)}


class TestClaims:
    def test_a_task_s_own_priority_does_not_change(self, ageing: Scheduling) -> None:
        (key,) = waiting(ageing, 1, 5)
        waiting(ageing, 5)
        assert ageing.task(key).priority == 1
        assert order(ageing, 1) == [key]
        assert ageing.sql("SELECT priority FROM leases") == [(1,)]
        assert ageing.task(key).priority == 1

    def test_the_higher_priority_comes_first_between_equal_waits(self, ageing: Scheduling) -> None:
        keys = [waiting(ageing, priority)[0] for priority in (8, 10, 9)]
        ageing.sql("UPDATE ready SET ready_time = now() - interval '1 h'")
        assert order(ageing) == [keys[1], keys[2], keys[0]]

    def test_a_clock_that_was_set_back_lowers_no_priority(self, ageing: Scheduling) -> None:
        (high,), (low,) = waiting(ageing, 6, -10), waiting(ageing, 5)
        assert order(ageing) == [high, low]

    def test_a_task_that_is_ready_again_restarts_ageing(self, ageing: Scheduling) -> None:
        (low,), (high,) = waiting(ageing, 1, 9), waiting(ageing, 8)
        (ref,) = ageing.claim(1)
        assert ref.task_key == low
        ageing.end(ref, released(Release.DRAINING))
        assert order(ageing) == [high, low]

    def test_tasks_of_a_batch_start_ageing_when_they_are_stored(self, ageing: Scheduling) -> None:
        ageing.fill(1, 60)
        assert ageing.sql("SELECT FROM ready WHERE ready_time NOT BETWEEN now() - interval '1 min' AND now()") == []

    def test_nothing_is_claimed_while_all_is_paused(self, ageing: Scheduling) -> None:
        keys = waiting(ageing, 1, 20)
        ageing.pause()
        assert order(ageing) == []
        ageing.resume()
        assert order(ageing) == keys

    def test_tasks_behind_a_window_age_too(self, ageing: Scheduling) -> None:
        low = ageing.fill(1, MAX_WINDOW + 10, priority=1)
        ageing.age(9 * STEP)
        high = waiting(ageing, 8, count=5)
        served: list[int] = []
        while grants := ageing.serve(500):
            served += [grant.ref.task_key for grant in grants]
        assert served == [*low, *high]


class TestBesideAnotherReplica:
    @pytest.mark.parametrize("count", [1, 5, 20])
    def test_no_slot_stays_free_while_something_waits(self, ageing: Scheduling, count: int) -> None:
        """The other one holds all tasks of the priority that this claim examines."""
        held = MIN_EXAMINED + 12
        keys = waiting(ageing, 5, count=held + count)
        with ageing.transaction() as other:
            claims(ageing, "other", held)(other)
            assert order(ageing, count + 5) == keys[held:]
        assert order(ageing) == []

    def test_no_lower_priority_is_served_before_tasks_behind_locked_ones(self, ageing: Scheduling) -> None:
        old, low, high = waiting(ageing, 1, 9, count=2), waiting(ageing, 5, count=9), waiting(ageing, 8, count=20)
        with ageing.transaction() as other:
            claims(ageing, "other", 14)(other)
            assert order(ageing, 10) == [*high[12:], *low[:2]]
        assert order(ageing) == low[2:]
        assert not ageing.sql("SELECT FROM ready WHERE task_key = ANY(:old)", old=old)

    def test_each_task_goes_to_one_replica(self, ageing: Scheduling) -> None:
        keys = {key for priority in (1, 5, 9) for key in waiting(ageing, priority, priority % 3, count=15)}
        with ageing.transaction() as other:
            theirs = [grant.ref.task_key for grant in claims(ageing, "other", 17)(other).grants]
            own = order(ageing)
        assert len(theirs) == 17
        assert sorted(theirs + own) == sorted(keys)


class Waits(NamedTuple):
    """A task as an example has it."""

    account: int
    priority: int
    steps: float


TASKS = st.lists(
    st.builds(Waits, st.integers(0, 2), st.sampled_from([1, 2, 5, 8, 10]), st.sampled_from([0.2, 0.7, 1.5, 4.5, 9.5])),
    min_size=1,
    max_size=40,
)
Row = tuple[int, int, float, float]
"""Key, priority, tag and wait of ready tasks."""


def ready(scheduling: Scheduling) -> list[Row]:
    wait = "CAST(extract(epoch FROM now() - ready_time) AS float8)"
    return [tuple(row) for row in scheduling.sql(f"SELECT task_key, priority, tag, {wait} FROM ready")]


def expected(rows: list[Row], count: int) -> list[int]:
    """The tasks that a claim of that many takes, computed by the domain."""
    levels = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row[2], row[0])):
        levels[row[1]].append(row)
    ranked = []
    for priority, level in levels.items():
        longest = 0.0
        for key, _, tag, wait in reversed(level[: max(count, MIN_EXAMINED)]):
            longest = max(longest, wait)
            ranked.append((-effective(priority, longest, STEP), -longest, -priority, tag, key))
    return [key for *_, key in sorted(ranked)][:count]


@settings(max_examples=60)
@given(tasks=TASKS, counts=st.lists(st.integers(1, 15), min_size=1, max_size=4))
def test_claims_are_in_order_and_keep_the_order_of_each_priority(
    shared: Scheduling, tasks: list[Waits], counts: list[int]
) -> None:
    shared.claim(EVERYTHING)  # tasks that a failed example has left
    accounts = [shared.make_account(weight=weight) for weight in (1.0, 2.0, 4.0)]
    submitted = shared.submit(*[new_task(account_id=accounts[task.account], priority=task.priority) for task in tasks])
    for task, waits in zip(submitted, tasks, strict=True):
        shared.age(waits.steps * STEP, task.task_key)
    all_rows = ready(shared)
    served: list[int] = []
    for count in [*counts, EVERYTHING]:
        shared.run(raise_floors)
        rows = ready(shared)
        claimed_keys = order(shared, count)
        assert claimed_keys == expected(rows, count)
        assert len(claimed_keys) == min(count, len(rows)), "no slot stays free while something waits"
        served += claimed_keys
    for priority in {task.priority for task in tasks}:
        level = sorted((row for row in all_rows if row[1] == priority), key=lambda row: (row[2], row[0]))
        keys = [row[0] for row in level]
        assert [key for key in served if key in keys] == keys, "fair between accounts, as without ageing"


def test_a_stream_of_a_higher_priority_does_not_starve_a_lower_one(ageing: Scheduling) -> None:
    """One task arrives for each that is served, and some always wait."""
    assert starved_for(ageing) == 7 * STEP / ROUND - 1


def test_a_stream_of_a_higher_priority_starves_a_lower_one_without_ageing(scheduling: Scheduling) -> None:
    assert starved_for(scheduling) == MAX_ROUNDS


ROUND = 20.0
MAX_ROUNDS = 60


def starved_for(scheduling: Scheduling) -> int:
    """How many tasks are served before the one of priority 1."""
    (low,) = scheduling.fill(1, 1, priority=1)
    scheduling.fill(1, 2, priority=8)
    for served in range(MAX_ROUNDS):
        scheduling.age(ROUND)
        scheduling.fill(1, 1, priority=8)
        if order(scheduling, 1) == [low]:
            return served
    return MAX_ROUNDS


class TestSeats:
    """Seats of an account with a limit or a start quota go to the tasks of the highest effective priority."""

    @pytest.fixture(params=["limit", "quota"])
    def few(self, ageing: Scheduling, request: pytest.FixtureRequest) -> int:
        """An account with three seats."""
        return ageing.make_account(3) if request.param == "limit" else ageing.make_account(max_starts_per_minute=3)

    def test_an_old_task_takes_a_seat_of_a_higher_priority(self, ageing: Scheduling, few: int) -> None:
        high = waiting(ageing, 8, account_id=few, count=5)
        (low,) = waiting(ageing, 1, account_id=few)
        assert seated(ageing) == set(high[:3])
        ageing.age(8 * STEP, low)
        ageing.run(settle, few)
        assert seated(ageing) == {low, *high[:2]}
        assert order(ageing) == [low, *high[:2]]

    def test_the_higher_priority_has_all_seats_without_ageing(self, scheduling: Scheduling) -> None:
        few = scheduling.make_account(3)
        high = waiting(scheduling, 8, account_id=few, count=5)
        waiting(scheduling, 1, 1_000, account_id=few)
        assert seated(scheduling) == set(high[:3])

    def test_young_tasks_behind_an_old_one_take_no_seat(self, ageing: Scheduling, few: int) -> None:
        old, *_ = waiting(ageing, 1, account_id=few, count=9)
        high = waiting(ageing, 8, account_id=few, count=9)
        ageing.age(8 * STEP, old)
        assert seated(ageing) == {old, *high[:2]}

    def test_an_old_task_behind_young_ones_wins_seats_for_its_priority(self, ageing: Scheduling, few: int) -> None:
        """In their order: the first of them runs before it, so it is the second."""
        first, second, old = waiting(ageing, 1, account_id=few, count=3)
        high = waiting(ageing, 8, account_id=few, count=9)
        ageing.age(8 * STEP, old, second)
        assert seated(ageing) == {first, second, high[0]}

    def test_the_seat_of_an_ended_task_goes_to_the_longest_wait(self, ageing: Scheduling) -> None:
        few = ageing.make_account(1)
        low, high = waiting(ageing, 1, 20, account_id=few, count=3), waiting(ageing, 8, 18, account_id=few, count=3)
        ageing.age(-3 * STEP, *low[1:])
        claimed_keys = []
        for _ in range(6):
            ageing.admit()
            (ref,) = ageing.claim(5)
            claimed_keys.append(ref.task_key)
            ageing.end(ref, RESULT)
        assert claimed_keys == [low[0], *high, *low[1:]]

    @pytest.mark.parametrize(("seats", "seed"), [(1, 0), (4, 1), (4, 2), (30, 3)])
    def test_settling_twice_changes_nothing(self, ageing: Scheduling, seats: int, seed: int) -> None:
        """After each claim and each end; there are as many tags as seats."""
        few = ageing.make_account(seats)
        for priority in (1, 5, 8, 10):
            for number, key in enumerate(waiting(ageing, priority, account_id=few, count=15)):
                ageing.age(STEP * ((seed + 3) * (number + 7 * priority) % 23) / 2, key)
        for _ in range(8):
            ageing.admit()
            before = tags(ageing)
            ageing.run(settle, few)
            assert tags(ageing) == before
            assert len(before) == min(seats, 60)
            for ref in ageing.claim(2):
                ageing.run(settle, few)
                ageing.end(ref, RESULT)

    def test_two_priorities_that_have_risen_to_ten_do_not_exchange_their_tags(self, ageing: Scheduling) -> None:
        """A claim changes which task is the oldest; the others keep their seats nevertheless."""
        few = ageing.make_account(6)
        mixed = [waiting(ageing, (1, 8)[number % 2], 40 - number, account_id=few)[0] for number in range(12)]
        assert seated(ageing) == set(mixed[:6])
        kept = dict(tags(ageing))
        for number in range(6):
            assert order(ageing, 1) == [mixed[number]]
            ageing.run(settle, few)
            assert tags(ageing) == sorted((key, kept[key]) for key in mixed[number + 1 : 6])
