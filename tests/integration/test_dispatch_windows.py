"""The windows of the accounts in the order of dispatch, with longer backlogs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_svc.dispatch.work import raise_floors
from scheduler_svc.domain.fairness import MAX_TAG_GAP, MAX_WINDOW, REFILL_LIMIT
from tests.harness.scheduling import FAILURE, Scheduling, new_task
from tests.harness.shared_database import SharedDatabase

LONG = MAX_WINDOW + 1_500


@pytest.fixture
def scheduling(shared_database: SharedDatabase) -> Iterator[Scheduling]:
    made = Scheduling(shared_database.engine, max_queue=1_000_000)
    yield made
    made.check_windows()


@pytest.fixture
def other(scheduling: Scheduling) -> int:
    return scheduling.make_account()


def tagged(scheduling: Scheduling, account_id: int) -> int:
    (row,) = scheduling.sql(
        "SELECT count(*) FROM ready WHERE account_id = :account_id AND tag IS NOT NULL", account_id=account_id
    )
    return int(row[0])


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


def test_each_task_of_a_long_backlog_is_served_once_in_its_order(scheduling: Scheduling) -> None:
    keys = scheduling.fill(1, LONG)
    order: list[int] = []
    while grants := scheduling.serve(700):
        order += [grant.ref.task_key for grant in grants]
    assert order == keys


def test_tasks_that_fall_due_at_once_have_no_credit(scheduling: Scheduling, other: int) -> None:
    """Neither for their wait nor for their number."""
    later = datetime.now(UTC) + timedelta(hours=1)
    scheduling.fill(1, LONG, schedule_time=later)
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


def test_cancelled_tasks_leave_no_gap(scheduling: Scheduling, other: int) -> None:
    """The tasks that are left do not wait for the cancelled ones' turns."""
    keys = scheduling.fill(1, 400)
    scheduling.fill(other, 400)
    for key in keys[:300]:
        scheduling.cancel(key)
    scheduling.admit()
    order = served(scheduling, 200)
    first = order.index(1)
    assert first <= 2 * MAX_TAG_GAP
    assert most_off(order[first:], 1, 0.5) <= 1


def test_a_window_whose_tasks_were_cancelled_is_refilled(scheduling: Scheduling, other: int) -> None:
    keys = scheduling.fill(1, MAX_WINDOW + 100)
    scheduling.fill(other, MAX_WINDOW)
    for key in keys[:200]:
        scheduling.cancel(key)
    scheduling.admit()
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
