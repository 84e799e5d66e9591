"""Group commit on a real database: how groups grow, and that one bad item does not fail the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from scheduler_svc.accounts.work import create_account
from scheduler_svc.database.connections import Timeouts
from scheduler_svc.domain.account import AccountChange, AccountSettings
from scheduler_svc.domain.errors import (
    DomainError,
    LockTimeout,
    NotFound,
    ShuttingDown,
    StoreUnavailable,
    TooManyCalls,
    WaitedTooLong,
)
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime import group_committer as lane_module
from scheduler_svc.runtime.group_committer import GROUP_SHARES, GroupCommitter, Lanes
from scheduler_svc.transactions import Database, StatementFailed, Tx, make_engine
from tests.harness.database_faults import locked_rows, locked_table
from tests.harness.scheduling import sql
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("executor_ended")]

WAIT_S = 10
MAX_WEIGHT = 100
LOCK_TIMEOUT_S = 0.3
Work = Callable[[Tx, Sequence[int]], Sequence["int | DomainError"]]


TERMINATE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database() AND state = 'idle in transaction'"""


class Accounts:
    """The work of a lane whose items become accounts with that limit; the database refuses a negative one.

    It waits for `gate` in its first transaction, so that a test can let items gather.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.groups: list[list[int]] = []

    def __call__(self, tx: Tx, items: Sequence[int]) -> list[int | DomainError]:
        self.groups.append(list(items))
        assert self.gate.wait(WAIT_S)
        return [
            NotFound("item", item) if item == 0 else create_account(tx, AccountSettings("", item)).account_id
            for item in items
        ]


@asynccontextmanager
async def running(url: str, work: Work, **options: Any) -> AsyncIterator[GroupCommitter[int, int]]:
    engine = make_engine(url, 1, hot=True, timeouts=Timeouts(LOCK_TIMEOUT_S, WAIT_S))
    database = Database(engine, lambda _: None, lambda _: None)
    usual = {"weight": lambda _: 1, "max_weight": MAX_WEIGHT, "max_waiting": None, "max_lock_wait": WAIT_S}
    lane: GroupCommitter[int, int] = GroupCommitter("test", database, work, **{**usual, **options})
    lane.start()
    try:
        yield lane
    finally:
        await lane.stop()
        engine.dispose()


async def gathered(lane: GroupCommitter[int, int], work: Accounts, items: Sequence[int]) -> list[int | BaseException]:
    """The answers to a first item, and to the others, which gather meanwhile."""
    first = lane.submit(items[0])
    await wait_until_async(lambda: work.groups, within=WAIT_S, what="the first is under way")
    futures = [first, *map(lane.submit, items[1:])]
    work.gate.set()
    return await asyncio.gather(*futures, return_exceptions=True)


def limits(engine: sa.Engine) -> list[int]:
    return [limit for (limit,) in sql(engine, "SELECT max_concurrent_tasks FROM accounts ORDER BY account_id")]


async def test_items_that_arrive_meanwhile_form_the_next_groups_of_a_bounded_size(
    db_url: str, engine: sa.Engine
) -> None:
    work, items = Accounts(), [*range(1, 252)]
    async with running(db_url, work) as lane:
        answers = await gathered(lane, work, items)
    assert work.groups == [[1], items[1:101], items[101:201], items[201:]]
    assert answers == items
    assert limits(engine) == items


async def test_an_idle_committer_runs_the_after_commit_work_of_its_first_item(db_url: str, engine: sa.Engine) -> None:
    """A busy committer runs none."""
    seen: list[list[int]] = []
    work = Accounts()
    async with running(db_url, work, after_commit=lambda: lambda: seen.append(limits(engine))) as lane:
        await gathered(lane, work, [1, 2, 3])
        await wait_until_async(lambda: seen, within=WAIT_S, what="the after-commit work has run")
    assert work.groups == [[1], [2, 3]]
    assert seen == [[1]]


@pytest.mark.parametrize("bad", [{1}, {7}, {1, 3, 4}, {0}], ids=str)
async def test_bad_items_fail_alone_and_the_others_commit(db_url: str, engine: sa.Engine, bad: set[int]) -> None:
    """The first item is a group of its own."""
    items = [-1 if i in bad else 10 + i for i in range(8)]
    work = Accounts()
    async with running(db_url, work) as lane:
        answers = await gathered(lane, work, [*items, 0])
        assert await lane.commit(5) > 0
    assert isinstance(answers.pop(), NotFound), "what the work refuses is not tried again"
    assert {i for i, answer in enumerate(answers) if isinstance(answer, BaseException)} == bad
    for failed in (answers[i] for i in bad):
        assert isinstance(failed, StatementFailed)
        assert "CheckViolation" in str(failed)
        assert "[SQL" not in str(failed)
    assert limits(engine) == [*(item for item in items if item > 0), 5]
    assert len(set(map(str, answers))) == len(items) - len(bad) + 1


async def test_work_that_leaves_an_item_without_an_answer_is_not_committed(db_url: str, engine: sa.Engine) -> None:
    def forgetful(tx: Tx, items: Sequence[int]) -> list[int | DomainError]:
        answers: list[int | DomainError] = [create_account(tx, AccountSettings("", item)).account_id for item in items]
        return answers if items == [2] else answers[1:]

    async with running(db_url, forgetful) as lane:
        with pytest.raises(ValueError, match="shorter"):
            await lane.commit(1)
        assert await lane.commit(2), "the lane goes on"
    assert limits(engine) == [2]


async def test_a_cancelled_caller_does_not_fail_its_group(db_url: str, engine: sa.Engine) -> None:
    work = Accounts()
    async with running(db_url, work) as lane:
        first = lane.submit(1)
        gone, other = lane.submit(2), lane.submit(3)
        gone.cancel()
        work.gate.set()
        assert await first < await other
    assert limits(engine) == [1, 2, 3]


async def test_callers_share_groups_and_the_limit_of_waiting_items(db_url: str) -> None:
    """Each caller has a share, however many items of another one wait."""
    work = Accounts()
    caller = "a"
    async with running(db_url, work, max_waiting=300, caller=lambda: caller) as lane:
        first = lane.submit(1)
        await wait_until_async(lambda: work.groups, within=WAIT_S, what="the first is under way")
        of_a = [first, *(lane.submit(1) for _ in range(299))]
        with pytest.raises(StoreUnavailable, match="can't keep up"):
            await lane.commit(1)
        caller = "b"
        of_b = [lane.submit(2) for _ in range(2)]
        caller = "a"
        with pytest.raises(TooManyCalls, match="its share"):
            await lane.commit(1)
        work.gate.set()
        await asyncio.gather(*of_a, *of_b)
        assert await lane.commit(3) > 0, "more are taken then"
    assert sorted(work.groups[1]) == [1] * (MAX_WEIGHT // GROUP_SHARES) + [2] * 2


@pytest.mark.parametrize(
    ("queue_timeout", "slow_group", "kind"),
    [(0.0, lane_module.SLOW_GROUP_LIMIT, WaitedTooLong), (0.05, 0.0, int)],
    ids=["it waits too long", "the database is slow"],
)
async def test_a_caller_that_waits_too_long_gets_an_error_unless_the_database_is_slow(
    db_url: str, monkeypatch: pytest.MonkeyPatch, queue_timeout: float, slow_group: float, kind: type
) -> None:
    monkeypatch.setattr(lane_module, "QUEUE_TIMEOUT", queue_timeout)
    monkeypatch.setattr(lane_module, "SLOW_GROUP_LIMIT", slow_group)
    work = Accounts()
    async with running(db_url, work, caller=lambda: "a") as lane:
        answers = await gathered(lane, work, range(1, MAX_WEIGHT + 3))
    assert [type(answer) for answer in answers] == [int, *[kind] * (MAX_WEIGHT + 1)]


async def test_an_abandoned_item_is_left_out(db_url: str, engine: sa.Engine) -> None:
    """Its after-commit work runs nevertheless, because another thread waits for it."""
    work = Accounts()
    seen: list[int] = []
    async with running(db_url, work, caller=lambda: "a") as lane:
        first = lane.submit(1)
        await wait_until_async(lambda: work.groups, within=WAIT_S, what="the first is under way")
        gone, last = lane.submit(2), lane.submit(3)
        next(entry for entry in lane._open if entry.item == 2).after_commit = lambda: seen.append(2)
        gone.cancel()
        work.gate.set()
        await asyncio.gather(first, last)
    assert (limits(engine), seen) == ([1, 3], [2])


async def test_the_seconds_of_a_group_are_counted_before_its_after_commit_work(db_url: str) -> None:
    """The claim that follows a submit on its thread is the claims' time, not the submits'."""
    metrics, counted = Metrics("1"), asyncio.get_running_loop().create_future()

    def count() -> None:
        groups = metrics.registry.get_sample_value("contentgen_lane_group_seconds_count", {"lane": "test"})
        counted.get_loop().call_soon_threadsafe(counted.set_result, groups)

    work = Accounts()
    work.gate.set()
    async with running(db_url, work, after_commit=lambda: count, metrics=metrics.lane("test")) as lane:
        await lane.submit(1)
        assert await asyncio.wait_for(counted, WAIT_S) == 1


async def test_after_commit_work_runs_even_if_its_item_fails(db_url: str) -> None:
    """The dispatcher claims nothing before that, so a submit that raises must not prevent it."""
    run = threading.Event()
    async with running(db_url, Accounts(), after_commit=lambda: run.set) as lane:
        with patch.object(lane, "_process", side_effect=RuntimeError("a defect")), pytest.raises(StoreUnavailable):
            await lane.commit(1)
        await wait_until_async(run.is_set, within=WAIT_S, what="the after-commit work has run")


async def test_a_stop_answers_waiting_items_and_refuses_new_ones(db_url: str) -> None:
    work = Accounts()
    async with running(db_url, work) as lane:
        futures = [lane.submit(item) for item in (1, 2, 3)]
        stop = asyncio.create_task(lane.stop())
        await asyncio.sleep(0)  # the stop is in progress
        with pytest.raises(ShuttingDown):
            await lane.commit(4)
        work.gate.set()
        await stop
        assert len(set(await asyncio.gather(*futures))) == 3
        await lane.stop()


async def test_a_broken_connection_fails_the_whole_group_as_unavailable(db_url: str, engine: sa.Engine) -> None:
    def work(tx: Tx, items: Sequence[int]) -> list[int | DomainError]:
        account_ids = [create_account(tx, AccountSettings("", item)).account_id for item in items]
        if items == [1]:
            sql(engine, TERMINATE)
            create_account(tx, AccountSettings("", 1))
        return list(account_ids)

    async with running(db_url, work) as lane:
        with pytest.raises(StoreUnavailable):
            await lane.commit(1)
        assert await lane.commit(2) > 0
    assert limits(engine) == [2]


class Rows:
    """The work of a lane whose items are account ids: each takes its account's row."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.done: list[int] = []

    def __call__(self, tx: Tx, items: Sequence[int]) -> list[int | DomainError]:
        self.groups.append(list(items))
        for item in sorted(items):
            tx.accounts.update(item, AccountChange(name="taken"))
        self.done += items
        return list(items)


def some_accounts(engine: sa.Engine, count: int) -> list[int]:
    statement = """INSERT INTO accounts (name, max_concurrent_tasks, weight)
        SELECT '', 0, 1 FROM generate_series(1, :count) RETURNING account_id"""
    return [account_id for (account_id,) in sql(engine, statement, count=count)]


def locked_account(url: str, account_id: int) -> AbstractContextManager[int]:
    return locked_rows(url, "accounts", "account_id = :id", id=account_id)


class TestForeignLocks:
    """Another session holds a lock that one item needs: the rest of its group commits."""

    async def test_other_items_are_answered_at_once_and_the_locked_one_after_the_lock(
        self, db_url: str, engine: sa.Engine
    ) -> None:
        accounts = some_accounts(engine, 20)
        async with running(db_url, Rows()) as lane:
            with locked_account(db_url, accounts[7]):
                futures = [lane.submit(account) for account in accounts]
                await asyncio.gather(*(futures[:7] + futures[8:]))
                assert not futures[7].done()
                assert (lane.state().waiting, lane.state().set_aside) == (1, 1)
                assert await lane.commit(accounts[0]), "what comes later passes"
            assert await futures[7] == accounts[7]
            assert (lane.state().waiting, lane.state().set_aside, lane.state().oldest) == (0, 0, 0.0)

    async def test_an_item_behind_a_foreign_lock_fails_at_its_limit(self, db_url: str, engine: sa.Engine) -> None:
        (account,) = some_accounts(engine, 1)
        async with running(db_url, Rows(), max_lock_wait=0.1) as lane:
            with locked_account(db_url, account), pytest.raises(LockTimeout):
                await lane.commit(account)
            assert await lane.commit(account) == account

    async def test_an_item_set_aside_is_dropped_with_its_caller(self, db_url: str, engine: sa.Engine) -> None:
        (account,) = some_accounts(engine, 1)
        async with running(db_url, Rows()) as lane:
            with locked_account(db_url, account):
                future = lane.submit(account)
                await wait_until_async(lambda: lane.state().set_aside, within=WAIT_S, what="it is set aside")
                future.cancel()
                await wait_until_async(lambda: not lane.state().waiting, within=WAIT_S, what="it is forgotten")

    async def test_items_with_the_same_key_wait_behind_a_locked_one(self, db_url: str, engine: sa.Engine) -> None:
        first, second, other = some_accounts(engine, 3)
        work = Rows()
        async with running(db_url, work, keys=lambda account: [account == other]) as lane:
            with locked_account(db_url, first):
                barred = [lane.submit(first), lane.submit(second)]
                await wait_until_async(lambda: lane.state().set_aside == 2, within=WAIT_S, what="both are set aside")
                assert await lane.commit(other) == other
            assert await asyncio.gather(*barred) == [first, second]
        assert work.done.index(first) < work.done.index(second)

    async def test_a_locked_table_sets_all_items_aside_until_it_is_free(self, db_url: str, engine: sa.Engine) -> None:
        accounts = some_accounts(engine, 150)
        async with running(db_url, Rows()) as lane:
            with locked_table(db_url, "accounts"):
                futures = [lane.submit(account) for account in accounts]
                await wait_until_async(lambda: lane.state().set_aside, within=WAIT_S, what="some are set aside")
                assert lane.state().stalled(0.0)
            assert await asyncio.gather(*futures) == accounts

    async def test_stopping_does_not_wait_for_the_lock(self, db_url: str, engine: sa.Engine) -> None:
        (account,) = some_accounts(engine, 1)
        with locked_account(db_url, account):
            async with running(db_url, Rows()) as lane:
                future = lane.submit(account)
                await wait_until_async(lambda: lane.state().set_aside, within=WAIT_S, what="it is set aside")
            with pytest.raises(LockTimeout):
                await future


async def test_a_group_is_repeated_after_a_deadlock(db_url: str, engine: sa.Engine) -> None:
    """Two lanes lock two rows in opposite order: the server cancels one of them, which starts again."""
    sql(engine, f"ALTER DATABASE {engine.url.database} SET deadlock_timeout = '20ms'")
    both_hold_one = threading.Barrier(2)
    runs: list[list[int]] = []

    def lock(tx: Tx, what: int) -> None:
        tx._session.execute(sa.text("SELECT pg_advisory_xact_lock(:what)"), {"what": what})

    def work(tx: Tx, items: Sequence[int]) -> list[int | DomainError]:
        runs.append(list(items))
        first = items[0]
        lock(tx, first)
        if len(runs) <= 2:
            both_hold_one.wait(WAIT_S)
        lock(tx, 3 - first)
        create_account(tx, AccountSettings("", first))
        return list(items)

    async with running(db_url, work) as one, running(db_url, work) as other:
        assert list(await asyncio.gather(one.commit(1), other.commit(2))) == [1, 2]
    assert len(runs) == 3
    assert sorted(limits(engine)) == [1, 2]


async def test_a_user_has_one_lane_that_few_others_use(db_url: str) -> None:
    async with running(db_url, Accounts()) as one, running(db_url, Accounts()) as other:
        lanes = Lanes([one, other])
        with lanes.least_used() as first:
            with lanes.least_used() as second:
                assert {first, second} == {one, other}
            with lanes.least_used() as again:
                assert again is second


async def test_the_state_of_several_lanes_is_that_of_the_one_that_stands_still(db_url: str) -> None:
    stuck, quick = Accounts(), Accounts()
    quick.gate.set()
    async with running(db_url, stuck) as one, running(db_url, quick) as other:
        lanes = Lanes([one, other])
        waiting = [one.submit(1), one.submit(2)]
        await other.commit(3)
        assert lanes.state().stalled(0.0)
        assert lanes.state().waiting == 2
        stuck.gate.set()
        await asyncio.gather(*waiting)
        assert not lanes.state().stalled(0.0)
