"""The timed loops skip rows that another session has locked, and return to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from scheduler_svc.database.connections import Timeouts
from scheduler_svc.domain.access import ALL
from scheduler_svc.replica import timed_loops as recovery
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.tasks.bulk import Bulk
from scheduler_svc.transactions import Database, make_engine
from tests.harness.foreign_locks import locked_rows
from tests.harness.scheduling import FAILURE, TERMS, Scheduling

LOCK_TIMEOUT_S = 0.2


@pytest.fixture
async def calls(db_url: str) -> AsyncIterator[Calls]:
    engine = make_engine(db_url, 1, hot=True, timeouts=Timeouts(LOCK_TIMEOUT_S, 10))
    calls = Calls(Database(engine, lambda _: None, lambda _: None), 1)
    yield calls
    calls.close()
    engine.dispose()
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.mark.parametrize("table", ["leases", "tasks", "shares"])
async def test_the_reaper_ends_leases_that_are_not_locked(
    db_url: str, calls: Calls, scheduling: Scheduling, table: str
) -> None:
    held, free = scheduling.start(), scheduling.start(account_id=scheduling.make_account())
    scheduling.expire(held, free)
    there: list[bool] = []
    reap = recovery.reaper(calls, TERMS, there.append)
    where = "account_id = 1" if table == "shares" else f"task_key = {held.task_key}"
    with locked_rows(db_url, table, where):
        await reap()
        assert (scheduling.place(held.task_key), scheduling.place(free.task_key)) == ("leases", "ready")
    await reap()
    assert scheduling.place(held.task_key) == "ready"
    assert set(there) == {True}


async def test_due_tasks_are_admitted_except_for_a_locked_account(
    db_url: str, calls: Calls, scheduling: Scheduling
) -> None:
    other = scheduling.make_account()
    held, free = scheduling.start(), scheduling.start(account_id=other)
    scheduling.end(held, FAILURE)
    scheduling.end(free, FAILURE)
    scheduling.sql("UPDATE delayed SET due_time = now() - make_interval(secs => 1)")
    due = recovery.due(calls)
    with locked_rows(db_url, "shares", "account_id = 1"):
        await due()
        assert (scheduling.place(held.task_key), scheduling.place(free.task_key)) == ("delayed", "ready")
    await due()
    assert scheduling.place(held.task_key) == "ready"


async def test_handle_timeouts_skips_locked_leases(db_url: str, calls: Calls, scheduling: Scheduling) -> None:
    held, free = scheduling.start(), scheduling.start()
    scheduling.sql("UPDATE leases SET accept_time = now() - make_interval(days => 1), start_time = now()")
    bulk = Bulk(calls, TERMS)
    with locked_rows(db_url, "tasks", "task_key = :key", key=held.task_key):
        assert await bulk.handle_timeouts(ALL) == 1
        assert scheduling.place(held.task_key) == "leases"
    assert await bulk.handle_timeouts(ALL) == 1
    assert scheduling.place(free.task_key) == "delayed"
