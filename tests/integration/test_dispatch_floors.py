"""The floors of the order of dispatch: dead entries below are not read, and no live row is hidden."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from scheduler_svc.dispatch.work import raise_floors, uncover_tags
from scheduler_svc.history.work import fold_counts
from scheduler_svc.replica import timed_loops as recovery
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.transactions import Tx, make_engine
from tests.harness.scheduling import Scheduling
from tests.harness.waiting import wait_until
from tests.integration.backlog import AGING, Backlog

PASSED = 6_000
FEW_PAGES = 60


@pytest.fixture
def scheduling(db_url: str) -> Iterator[Scheduling]:
    with closing(Scheduling(db_url, max_queue=100_000)) as made:
        yield made
        made.check_windows()


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
    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

    def now(tx: Tx) -> float:
        return tx.waiting.reserve({(1, 5): 0})[1, 5].now

    with ThreadPoolExecutor(1) as pool:
        with scheduling.transaction() as raiser:
            assert raiser.floors.rise()
            asked = pool.submit(scheduling.run, now)
            wait_until(lambda: scheduling.sql(waiting), within=5, what="the giver waits")
        assert asked.result(timeout=5) == floors(scheduling)[5] == 5.0


def test_tasks_that_the_previous_version_puts_below_a_floor_are_found(scheduling: Scheduling) -> None:
    scheduling.fill(1, 10)
    scheduling.claim(5)
    assert scheduling.run(raise_floors)
    scheduling.sql("UPDATE ready SET tag = 1 WHERE tag = 7")
    hidden = scheduling.claim(10)
    assert len(hidden) == 4
    assert scheduling.run(uncover_tags) == 1
    assert scheduling.told[-1].ready
    assert len(scheduling.claim(10)) == 1
    assert scheduling.run(uncover_tags) == 0


async def test_the_loop_raises_floors_once_much_has_moved(scheduling: Scheduling) -> None:
    scheduling.fill(1, 10)
    scheduling.claim(5)
    now = 0.0
    calls = Calls(scheduling.database, 1)
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
    calls.close()


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
        while scheduling.run(fold_counts):
            pass
        assert pending(scheduling) == 5
    assert pending(scheduling) == 6
    while scheduling.run(fold_counts):
        pass
    assert pending(scheduling) == 6


def test_a_partial_fold_does_not_raise_the_floor(scheduling: Scheduling) -> None:
    scheduling.fill(1, 5)
    before = scheduling.sql("SELECT xact FROM count_floor")
    scheduling.run(lambda tx: tx.counts.fold(1))
    assert pending(scheduling) == 5
    assert scheduling.sql("SELECT xact FROM count_floor") == before
    while scheduling.run(fold_counts):
        pass
    assert scheduling.sql("SELECT xact FROM count_floor") > before


def test_a_floor_of_another_server_is_not_applied(scheduling: Scheduling) -> None:
    """As after a restore, where transaction ids start again."""
    scheduling.sql("UPDATE count_floor SET xact = 1000000000")
    scheduling.fill(1, 5)
    assert pending(scheduling) == 5
    while scheduling.run(fold_counts):
        pass
    scheduling.fill(1, 5)
    assert pending(scheduling) == 10
    scheduling.check()
