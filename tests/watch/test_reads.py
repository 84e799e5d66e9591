"""What a watch reads of the database: of one account, and after a failover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from psycopg2.extensions import make_dsn

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.errors import ResumeTokenExpired
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.transactions import Database, make_engine
from scheduler_svc.watch import work as changes
from scheduler_svc.watch.feed import ChangeFeed, WatchInterest
from scheduler_svc.watch.watches import TaskWatch, Watches
from scheduler_svc.watch.work import MAX_PAGE, ChangePage, Selection
from tests.harness.cluster import Databases
from tests.harness.scheduling import Scheduling
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.integration


# A watch of accounts that starts far back reads few of the many moves of others.


def read(scheduling: Scheduling, scope: Scope, after: int, until: int) -> ChangePage:
    return scheduling.run(changes.read_selected, Selection(scope=scope), after, until, changes.MAX_PAGE)


def last(scheduling: Scheduling) -> int:
    return int(scheduling.sql("SELECT max(seq) FROM task_events")[0][0])


def test_moves_of_other_accounts_are_passed_over_in_one_transaction(scheduling: Scheduling) -> None:
    other = scheduling.make_account()
    first = scheduling.submit_one()
    scheduling.fill(other, MAX_PAGE + 1)
    second = scheduling.submit_one()
    page = read(scheduling, Scope.of(1), 0, last(scheduling))
    assert [change.task.task_key for change in page.changes] == [first, second]
    assert page.end == last(scheduling)


def test_chunks_and_pages_together_are_all_moves(scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [scheduling.make_account() for _ in range(2)] == [2, 3]
    for account_id in (1, 2, 3, 1, 1, 2, 1, 3, 2, 2, 1):
        scheduling.cancel(scheduling.submit_one(account_id=account_id))
    every, until = scheduling.changes(), last(scheduling)
    for scope, chunk, size in product((Scope((1,)), Scope((1, 3)), ALL), (1, 2, 3, 7, 1_000), (1, 2, 5)):
        monkeypatch.setattr(changes, "MAX_SCAN", chunk)
        monkeypatch.setattr(changes, "MAX_PAGE", size)
        moves, position = [], 0
        while position < until:
            page = read(scheduling, scope, position, until)
            assert position < page.end <= until, "each page goes on"
            assert len(page.changes) <= size
            moves += page.changes
            position = page.end
        assert moves == [change for change in every if change.task.account_id in scope]


def test_the_present_states_of_several_accounts_are_in_the_order_of_their_keys(scheduling: Scheduling) -> None:
    for _ in range(2):
        scheduling.make_account()
    keys = [scheduling.submit_one(account_id=account_id) for account_id in (3, 1, 2, 3, 1)]
    scheduling.cancel(keys[0])
    for size in (1, 2, 1_000):
        seen, after, full = list[int](), 0, True
        while full:
            page = scheduling.run(changes.read_present, Selection(scope=Scope((1, 3))), after, last(scheduling), size)
            seen, after, full = [*seen, *(change.task.task_key for change in page.changes)], page.end, page.full
        assert seen == [keys[1], keys[3], keys[4]]


# A watch after a failover: the database has another history, which may lack events that were sent.


ACCOUNT = Selection(scope=Scope.of(1))
SOMEBODY = "INSERT INTO accounts (account_id, name, max_concurrent_tasks, weight) VALUES (1, 'a', 0, 1)"
NUMBERS = "SELECT nextval('event_seq') FROM generate_series(1, {})"


class Address:
    """An address of one of two databases: that of the test, or a copy with another history."""

    def __init__(self, before: str, after: str) -> None:
        self._databases = before, after
        self._moved = False
        self._engine = make_engine(before, 2)
        sa.event.listen(self._engine, "do_connect", self._connect)
        audience = WatchInterest()
        self.calls = Calls(Database(self._engine, lambda _: None, lambda _: None, audience), 2)
        self.tail = ChangeFeed(self.calls, audience)
        self.watches = Watches(self.calls, self.tail)
        for url in self._databases:
            self._run(url, SOMEBODY)

    def fail_over(self, drawn: int) -> None:
        """Fails over and closes all connections; the copy's last number is `drawn`, which may be the higher one."""
        self._engine.dispose()
        self._moved = True
        self._run(self._databases[1], NUMBERS.format(drawn))

    def draw(self, count: int) -> None:
        self._run(self._databases[0], NUMBERS.format(count))

    def close(self) -> None:
        self.calls.close()
        self._engine.dispose()

    def _connect(self, _dialect: object, _record: object, arguments: Any, options: Any) -> Any:
        name = sa.make_url(self._databases[self._moved]).database
        return psycopg2.connect(make_dsn(*arguments, **{**options, "dbname": name}))

    def _run(self, url: str, statement: str) -> None:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture
def address(db_url: str, databases: Databases, template: str) -> Iterator[Address]:
    with databases.lent(template) as after:
        address = Address(db_url, after)
        yield address
        address.close()


@asynccontextmanager
async def _opened(address: Address) -> AsyncIterator[TaskWatch]:
    """A new watch, for which the feed is looked at.

    The last look ends first: amidst a failover it would return its connection to an engine that does not close it.
    """
    opened = asyncio.Event()
    looking = asyncio.create_task(_look(address.tail, opened))
    async with address.watches.open(ACCOUNT, None) as watch:
        opened.set()
        await looking
        yield watch


async def _look(tail: ChangeFeed, until: asyncio.Event) -> None:
    while not until.is_set():
        await tail.run_once()
        await asyncio.sleep(0)


@pytest.fixture
async def watch(address: Address) -> AsyncIterator[TaskWatch]:
    """A watch that has sent all events up to number 5."""
    address.draw(5)
    async with _opened(address) as watch:
        yield watch


@pytest.mark.parametrize("drawn", [3, 5, 8])
async def test_a_watch_ends_if_the_database_has_another_history(address: Address, watch: TaskWatch, drawn: int) -> None:
    """Whether the copy drew fewer, as many or more numbers: its events are other ones."""
    following = asyncio.create_task(anext(watch.changes()))
    await wait_until_async(lambda: address.tail._watchers, within=PATIENCE_S, what="it follows the tail")
    address.fail_over(drawn)
    await address.tail.run_once()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ResumeTokenExpired):
            await following


async def test_pages_of_two_histories_are_not_combined(address: Address, watch: TaskWatch) -> None:
    """Before the watch has reached the change feed, each page is a separate read."""
    address.fail_over(2_000)
    with pytest.raises(ResumeTokenExpired):
        await anext(watch.changes())
    with pytest.raises(ResumeTokenExpired):
        await address.calls.run(changes.in_history, watch.origin, changes.read_selected, ACCOUNT, 5, 2_000, 500)


async def test_a_new_watch_after_a_failover_is_served(address: Address, watch: TaskWatch) -> None:
    address.fail_over(8)
    await address.tail.run_once()
    async with asyncio.timeout(PATIENCE_S), _opened(address) as anew:
        assert anew.position.number == 8
        assert anew.origin != watch.origin
