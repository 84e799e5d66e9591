"""A watch after a failover: the database has another history, which may lack events that were sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from psycopg2.extensions import make_dsn

from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.errors import ResumeTokenExpired
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.transactions import Database, make_engine
from scheduler_svc.watch import work as changes
from scheduler_svc.watch.feed import ChangeFeed, WatchInterest
from scheduler_svc.watch.watches import TaskWatch, Watches
from scheduler_svc.watch.work import Selection
from tests.harness.cluster import Databases
from tests.harness.waiting import wait_until_async

WITHIN = 10.0
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


@pytest.fixture
async def watch(address: Address) -> AsyncIterator[TaskWatch]:
    """A watch that has sent all events up to number 5."""
    address.draw(5)
    looking = asyncio.create_task(_look(address.tail))
    async with address.watches.open(ACCOUNT, None) as watch:
        looking.cancel()
        yield watch


async def _look(tail: ChangeFeed) -> None:
    while True:
        await tail.run_once()
        await asyncio.sleep(0)


@pytest.mark.parametrize("drawn", [3, 5, 8])
async def test_a_watch_ends_if_the_database_has_another_history(address: Address, watch: TaskWatch, drawn: int) -> None:
    """Whether the copy drew fewer, as many or more numbers: its events are other ones."""
    following = asyncio.create_task(anext(watch.changes()))
    await wait_until_async(lambda: address.tail._watchers, within=WITHIN, what="it follows the tail")
    address.fail_over(drawn)
    await address.tail.run_once()
    async with asyncio.timeout(WITHIN):
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
    looking = asyncio.create_task(_look(address.tail))
    async with asyncio.timeout(WITHIN), address.watches.open(ACCOUNT, None) as anew:
        assert anew.position.number == 8
        assert anew.origin != watch.origin
        looking.cancel()
