"""The order of real claims: fairness, the windows of accounts, the floors of the index."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_svc.dispatch.work import raise_floors, uncover_tags
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.dispatch import MAX_TAG_GAP, MAX_WINDOW, REFILL_LIMIT
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import TaskFilter
from scheduler_svc.history.work import fold_counts
from scheduler_svc.replica import timed_loops as recovery
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.tasks.change import cancel_batch
from scheduler_svc.transactions import Tx, make_engine
from tests.database.test_plans import AGING, Backlog
from tests.harness.cluster import Databases, SharedDatabase
from tests.harness.scheduling import FAILURE, Scheduling, later, new_task, overtaken

pytestmark = pytest.mark.integration

EXAMPLES = settings(max_examples=40)
ROUNDING = 1e-6
WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=3)
SUBMIT = st.tuples(st.integers(0, 2), st.sampled_from([5, 5, 9]), st.integers(1, 30))
"""Account, priority and number of tasks."""
CLAIM = st.integers(1, 20)
STEPS = st.lists(st.one_of(SUBMIT, CLAIM), min_size=3, max_size=12)
EVERYTHING = 1_000
Line = tuple[int, int]
"""An account and a priority."""


@pytest.fixture(scope="module")
def shared(databases: Databases, template: str) -> Iterator[Scheduling]:
    """One database for all examples: each has its own accounts, and leaves no waiting task."""
    with databases.lent(template) as url, closing(Scheduling(url)) as scheduling:
        yield scheduling


@dataclass
class Model:
    """The waiting tasks, and how many of each line were served while it waited."""

    weights: dict[int, float]
    waiting: dict[Line, list[int]] = field(default_factory=lambda: defaultdict(list))
    leads: dict[tuple[Line, Line], list[float]] = field(default_factory=dict)
    """For two waiting lines of a priority: by how many shares the first was ahead, after each grant."""

    def submitted(self, line: Line, keys: list[int]) -> None:
        self.waiting[line] += keys
        for pair in combinations(sorted(other for other in self.waiting if self.waiting[other]), 2):
            if pair[0][1] == pair[1][1]:
                self.leads.setdefault(pair, [0.0])

    def granted(self, key: int) -> None:
        (line,) = [line for line, keys in self.waiting.items() if key in keys]
        account, priority = line
        assert priority == max(p for (_, p), keys in self.waiting.items() if keys), "the highest priority first"
        assert self.waiting[line].pop(0) == key, "the oldest of an account first"
        for (first, second), lead in self.leads.items():
            if line in {first, second}:
                lead.append(lead[-1] + (1 if line == first else -1) / self.weights[account])
        if not self.waiting[line]:
            self._idle(line)

    def _idle(self, line: Line) -> None:
        """Ends its pairs: a line without waiting tasks has no share."""
        for pair in [pair for pair in self.leads if line in pair]:
            self.check(pair)
            del self.leads[pair]

    def check(self, pair: tuple[Line, Line]) -> None:
        """While both waited, neither got more than one share of each of them ahead of the other."""
        bound = sum(1 / self.weights[account] for account, _ in pair)
        lead = self.leads[pair]
        assert max(lead) - min(lead) <= bound + ROUNDING, (pair, self.weights)


@pytest.mark.costly("random queues are claimed to their ends", seconds=1)
@EXAMPLES
@given(weights=WEIGHTS, steps=STEPS)
def test_claims_are_in_order_and_fair(
    shared: Scheduling, weights: list[float], steps: list[tuple[int, int, int] | int]
) -> None:
    shared.claim(EVERYTHING)  # tasks that a failed example has left
    accounts = [shared.make_account(weight=weight) for weight in weights]
    model = Model(dict(zip(accounts, weights, strict=True)))
    for step in [*steps, EVERYTHING]:
        if isinstance(step, tuple):
            which, priority, count = step
            account = accounts[which % len(accounts)]
            tasks = shared.submit(*[new_task(account_id=account, priority=priority) for _ in range(count)])
            model.submitted((account, priority), [task.task_key for task in tasks])
        else:
            wait = sum(map(len, model.waiting.values()))
            shared.run(raise_floors)
            granted = shared.claim(step)
            assert len(granted) == min(step, wait), "no slot stays free while something waits"
            for ref in granted:
                model.granted(ref.task_key)
    assert not any(model.waiting.values())


# The windows of the accounts in the order of dispatch, with longer backlogs.


LONG = MAX_WINDOW + 1_500


@pytest.fixture
def scheduling(shared_database: SharedDatabase) -> Iterator[Scheduling]:
    scheduling = Scheduling(shared_database.engine, max_queue=1_000_000)
    yield scheduling
    scheduling.check_windows()


@pytest.fixture
def other(scheduling: Scheduling) -> int:
    return scheduling.make_account()


def tagged(scheduling: Scheduling, account_id: int) -> int:
    tags = "SELECT FROM ready WHERE account_id = :account_id AND tag IS NOT NULL"
    return len(scheduling.sql(tags, account_id=account_id))


def served(scheduling: Scheduling, count: int) -> list[int]:
    """The accounts of that many grants, by claims of different sizes."""
    sizes = random.Random(count)
    accounts: list[int] = []
    while len(accounts) < count:
        scheduling.run(raise_floors)
        grants = scheduling.serve(min(sizes.choice([1, 30, 200, 1_000]), count - len(accounts)))
        assert grants
        accounts += [grant.account_id for grant in grants]
    return accounts


def most_off(order: Sequence[int], account_id: int, share: float, window: int = 70) -> float:
    """The largest difference from its share of any window of the order."""
    return max(abs(order[i : i + window].count(account_id) - share * window) for i in range(0, len(order) - window, 7))


def test_accounts_share_by_weight_beyond_their_windows(scheduling: Scheduling) -> None:
    weights = {scheduling.make_account(weight=weight): weight for weight in (1.0, 2.0, 4.0)}
    for account_id, weight in weights.items():
        scheduling.fill(account_id, max(MAX_WINDOW + 100, int(weight * 1_900)))
    order = served(scheduling, 4 * MAX_WINDOW)
    for account_id, weight in weights.items():
        assert most_off(order, account_id, weight / 7) <= weight  # 10%


def test_only_a_window_of_a_long_backlog_has_tags(scheduling: Scheduling, other: int) -> None:
    keys = scheduling.fill(1, LONG)
    assert tagged(scheduling, 1) == MAX_WINDOW
    (first,) = scheduling.fill(other, 1)
    grants = scheduling.serve(2)
    assert {grant.ref.task_key for grant in grants} == {keys[0], first}  # at once
    assert [grant.ref.task_key for grant in scheduling.serve(900)] == keys[1:901]
    assert tagged(scheduling, 1) >= REFILL_LIMIT


def test_tasks_that_fall_due_at_once_have_no_credit(scheduling: Scheduling, other: int) -> None:
    """Neither for their wait nor for their number."""
    scheduling.fill(1, LONG, schedule_time=later())
    scheduling.fill(other, LONG)
    served(scheduling, 100)
    scheduling.sql("UPDATE delayed SET due_time = now()")
    while scheduling.due().count:
        pass
    assert most_off(served(scheduling, 2_000), 1, 0.5) <= 1


def test_a_returning_account_has_no_credit(scheduling: Scheduling, other: int) -> None:
    scheduling.fill(1, LONG)
    scheduling.fill(other, 10)
    served(scheduling, MAX_WINDOW)
    scheduling.fill(other, 500)
    assert most_off(served(scheduling, 800), other, 0.5) <= 1


def test_the_higher_priority_comes_first_however_long_its_backlog(scheduling: Scheduling, other: int) -> None:
    low = scheduling.fill(other, 20, priority=1)
    high = scheduling.fill(1, LONG, priority=9)
    order: list[int] = []
    while grants := scheduling.serve(1_000):
        order += [grant.ref.task_key for grant in grants]
    assert order == high + low


def cancel_oldest(scheduling: Scheduling, count: int) -> None:
    """Cancels the oldest tasks of account 1, and runs the admissions that this requests."""
    wanted = TaskFilter(Scope.of(1), frozenset({Status.PENDING}))
    assert scheduling.run(cancel_batch, wanted, 0, count).changed == count
    scheduling.admit()


def test_cancelled_tasks_leave_no_gap(scheduling: Scheduling, other: int) -> None:
    """The tasks that are left do not wait for the cancelled ones' turns."""
    scheduling.fill(1, 400)
    scheduling.fill(other, 400)
    cancel_oldest(scheduling, 300)
    order = served(scheduling, 200)
    first = order.index(1)
    assert first <= 2 * MAX_TAG_GAP
    assert most_off(order[first:], 1, 0.5) <= 1


def test_a_window_whose_tasks_were_cancelled_is_refilled(scheduling: Scheduling, other: int) -> None:
    scheduling.fill(1, MAX_WINDOW + 100)
    scheduling.fill(other, MAX_WINDOW)
    cancel_oldest(scheduling, 200)
    assert tagged(scheduling, 1) == MAX_WINDOW - 100
    assert served(scheduling, 100).count(1) == pytest.approx(50, abs=MAX_TAG_GAP)


def test_a_cancelled_backlog_delays_no_later_task(scheduling: Scheduling) -> None:
    keys = scheduling.fill(1, MAX_WINDOW + 2)
    for key in keys[MAX_WINDOW:]:
        scheduling.cancel(key)
    scheduling.admit()
    served(scheduling, 100)
    new = scheduling.fill(1, 50)
    assert tagged(scheduling, 1) == MAX_WINDOW - 100 + 50
    assert scheduling.place(new[-1]) == "ready"


def test_the_next_submit_refills_a_window_that_was_left_empty(scheduling: Scheduling) -> None:
    """As after the death of the replica that claimed the last of it."""
    scheduling.fill(1, MAX_WINDOW + 5)
    while scheduling.claim(1_000):
        pass
    assert tagged(scheduling, 1) == 0
    scheduling.fill(1, 1)
    scheduling.admit()
    assert tagged(scheduling, 1) == 6


def test_retried_tasks_are_served_in_their_order(scheduling: Scheduling, other: int) -> None:
    """They do not overtake, and wait only for tasks that became ready before them."""
    scheduling.fill(1, 100, max_retries=5)
    scheduling.fill(other, 100)
    for ref in scheduling.claim(40):
        if scheduling.task(ref.task_key).account_id == 1:
            scheduling.end(ref, FAILURE)
            scheduling.retry(ref.task_key)
    assert most_off(served(scheduling, 150), 1, 0.5, window=20) <= 1


def test_a_released_task_keeps_its_place_and_moves_no_tag_back(scheduling: Scheduling, other: int) -> None:
    scheduling.fill(1, 200)
    first, *_ = scheduling.claim(50)
    scheduling.take_back(first)
    scheduling.fill(other, 100)
    order = scheduling.serve(60)
    assert order[0].ref.task_key == first.task_key
    accounts = [grant.account_id for grant in order]
    assert accounts.count(other) == pytest.approx(30, abs=1)  # from where account 1 is now, not from where it was


@pytest.mark.parametrize("weight", [0.25, 8.0])
def test_a_new_weight_applies_to_a_long_backlog(scheduling: Scheduling, other: int, weight: float) -> None:
    for account_id in (1, other):
        scheduling.fill(account_id, LONG)
    served(scheduling, 500)
    scheduling.change_account(other, weight=weight)
    assert most_off(served(scheduling, 2_000), other, weight / (1 + weight), window=90) <= 2


def test_priorities_of_one_group_have_separate_windows(scheduling: Scheduling) -> None:
    scheduling.fill(1, MAX_WINDOW, priority=5)
    mixed = [new_task(priority=priority) for priority in (5, 6) * 10]
    keys = [task.task_key for task in scheduling.submit(*mixed)]
    assert [grant.ref.task_key for grant in scheduling.serve(11)][:10] == keys[1::2]
    assert tagged(scheduling, 1) == MAX_WINDOW - 1


# The floors of the order of dispatch: dead entries below are not read, and no live row is hidden.


PASSED = 6_000
FEW_PAGES = 60


@pytest.fixture
def stranger(db_url: str) -> Iterator[sa.Connection]:
    """An open transaction: rows that it could see are not vacuumed."""
    engine = make_engine(db_url, 1)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tasks")
        yield connection
        connection.exec_driver_sql("ROLLBACK")
    engine.dispose()


def floors(scheduling: Scheduling) -> dict[int, float]:
    return dict(scheduling.sql("SELECT priority, tag FROM ready_floors"))


def pending(scheduling: Scheduling) -> int:
    return int(scheduling.run(lambda tx: tx.submits.context([1])).pending)


def fold_all(scheduling: Scheduling) -> None:
    while scheduling.run(fold_counts):
        pass


def pass_through(scheduling: Scheduling, count: int) -> None:
    """Submits and leases that many tasks."""
    for _ in range(0, count, 1_000):
        scheduling.fill(1, 1_000)
        assert len(scheduling.claim(1_000)) == 1_000


@pytest.mark.usefixtures("stranger")
def test_claims_and_submits_skip_dead_rows_during_an_open_transaction(scheduling: Scheduling, db_url: str) -> None:
    scheduling.hello()
    slots = [("w", scheduling.sessions["w"])]
    pass_through(scheduling, PASSED)
    assert scheduling.run(raise_floors)
    scheduling.fill(1, 10)
    with closing(Backlog(db_url)) as backlog:
        work: dict[str, Any] = {
            "claim": lambda tx: tx.leases.claim(slots, 120.0).grants,
            "reserve": lambda tx: tx.waiting.reserve({(1, 5): 1}),
            "settle": lambda tx: tx.window.account_queue(1, 10),
        }
        for what, run in work.items():
            for aging in (0.0, AGING):
                for plan in backlog.plans(backlog.hot, run, aging):
                    assert plan.buffers <= FEW_PAGES, (what, aging, plan)


def test_a_released_task_is_not_below_a_floor(scheduling: Scheduling) -> None:
    """It keeps its tag, unless that is below the floor."""
    keys = scheduling.fill(1, 100)
    first, *_ = scheduling.claim(50)
    assert scheduling.run(raise_floors)
    assert floors(scheduling) == {5: 50.0}
    scheduling.take_back(first)
    assert [ref.task_key for ref in scheduling.claim(2)] == [keys[0], keys[50]]


def test_the_next_task_of_an_empty_queue_is_not_below_a_floor(scheduling: Scheduling) -> None:
    other = scheduling.make_account()
    scheduling.fill(1, 100)
    scheduling.claim(100)
    assert scheduling.run(raise_floors)
    scheduling.fill(other, 3)
    scheduling.fill(1, 3)
    assert len(scheduling.claim(10)) == 6


def test_an_account_whose_tags_are_renewed_is_not_hidden(scheduling: Scheduling) -> None:
    other = scheduling.make_account(weight=3.0)
    for account_id in (1, other):
        scheduling.fill(account_id, 300)
    scheduling.claim(100)
    assert scheduling.run(raise_floors)
    scheduling.change_account(other, weight=0.3)
    scheduling.pause(1)
    assert scheduling.run(raise_floors)
    scheduling.resume(1)
    scheduling.admit()
    assert len(scheduling.claim(1_000)) == 500


def test_rounding_puts_no_tag_below_the_floor(scheduling: Scheduling) -> None:
    """A tag is computed from the account's finish backwards."""
    odd = scheduling.make_account(weight=7.3)
    for count in range(1, 40):
        keys = scheduling.fill(odd, count)
        assert scheduling.run(raise_floors)
        scheduling.check_windows()
        assert len(scheduling.claim(1_000)) == len(keys)
        assert scheduling.run(raise_floors)


def test_no_floor_is_raised_while_tags_are_assigned(scheduling: Scheduling) -> None:
    scheduling.fill(1, 10)
    scheduling.claim(5)
    with scheduling.transaction() as giver:
        giver.waiting.reserve({(1, 5): 1})
        assert not scheduling.run(raise_floors)
    with scheduling.transaction() as giver:
        giver.window.lock(1)
        assert not scheduling.run(raise_floors)
    assert scheduling.run(raise_floors)


def test_tagging_waits_for_a_raised_floor_and_sees_it(scheduling: Scheduling) -> None:
    scheduling.fill(1, 10)
    scheduling.claim(5)

    def now(tx: Tx) -> float:
        return tx.waiting.reserve({(1, 5): 0})[1, 5].now

    assert overtaken(scheduling, lambda tx: tx.floors.rise(), lambda: scheduling.run(now)) == 5.0
    assert floors(scheduling) == {5: 5.0}


def test_tasks_that_the_previous_version_puts_below_a_floor_are_found(scheduling: Scheduling) -> None:
    scheduling.fill(1, 10)
    scheduling.claim(5)
    assert scheduling.run(raise_floors)
    scheduling.sql("UPDATE ready SET tag = 1 WHERE tag = 7")
    hidden = scheduling.claim(10)
    assert len(hidden) == 4
    assert scheduling.run(uncover_tags) == 1
    assert scheduling.signals[-1].ready
    assert len(scheduling.claim(10)) == 1
    assert scheduling.run(uncover_tags) == 0


async def test_the_loop_raises_floors_once_much_has_moved(scheduling: Scheduling, calls: Calls) -> None:
    scheduling.fill(1, 10)
    scheduling.claim(5)
    now = 0.0
    loop = recovery.FloorLoop(calls, lambda: now)
    loop.moved(recovery.MIN_MOVES_TO_RAISE - 1)
    await loop.run_once()
    assert floors(scheduling) == {}
    loop.moved(1)
    await loop.run_once()
    assert floors(scheduling) == {5: 5.0}
    scheduling.sql("UPDATE ready_floors SET tag = 1000")
    await loop.run_once()
    assert scheduling.claim(10) == []
    now = recovery.UNCOVER_INTERVAL
    await loop.run_once()
    assert len(scheduling.claim(10)) == 5


@pytest.mark.usefixtures("stranger")
def test_submits_skip_folded_deltas_during_an_open_transaction(scheduling: Scheduling, db_url: str) -> None:
    for _ in range(5):
        scheduling.sql("INSERT INTO count_deltas (account_id, kind, n) SELECT 0, 1, 1 FROM generate_series(1, 2000)")
        scheduling.run(fold_counts)
    with closing(Backlog(db_url)) as backlog:
        (plan,) = backlog.plans(backlog.hot, lambda tx: tx.submits.context([1]))
        assert plan.buffers <= FEW_PAGES, plan
    assert pending(scheduling) == 10_000


def test_a_delta_that_is_committed_after_a_fold_of_later_ones_is_counted(scheduling: Scheduling) -> None:
    with scheduling.transaction() as slow:
        slow.counts.add({(0, 1): 1})
        slow.submits.context([1])  # statements that were held back are sent with it
        scheduling.fill(1, 5)
        fold_all(scheduling)
        assert pending(scheduling) == 5
    assert pending(scheduling) == 6
    fold_all(scheduling)
    assert pending(scheduling) == 6


def test_a_partial_fold_does_not_raise_the_floor(scheduling: Scheduling) -> None:
    scheduling.fill(1, 5)
    before = scheduling.sql("SELECT xact FROM count_floor")
    scheduling.run(lambda tx: tx.counts.fold(1))
    assert pending(scheduling) == 5
    assert scheduling.sql("SELECT xact FROM count_floor") == before
    fold_all(scheduling)
    assert scheduling.sql("SELECT xact FROM count_floor") > before


def test_a_floor_of_another_server_is_not_applied(scheduling: Scheduling) -> None:
    """As after a restore, where transaction ids start again."""
    scheduling.sql("UPDATE count_floor SET xact = 1000000000")
    scheduling.fill(1, 5)
    assert pending(scheduling) == 5
    fold_all(scheduling)
    scheduling.fill(1, 5)
    assert pending(scheduling) == 10
    scheduling.check()
