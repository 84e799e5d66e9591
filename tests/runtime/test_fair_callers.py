"""Callers share a replica fairly: one with many slow calls delays the call of another by one call at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio

from scheduler_svc.replica import replica as replica_module
from scheduler_svc.replica.pools import READ_THREADS
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime import calls
from scheduler_svc.transactions import make_engine
from tests.harness import http2
from tests.harness.client import refused
from tests.harness.credentials import Caller, line, write
from tests.harness.database_faults import locked_table
from tests.harness.replicas import serving
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.contract

MANY = 50
FEW = 3
PATIENCE_S = 10
LIST_ACCOUNTS = "/contentgen.v1.AccountService/ListAccounts"
_STUCK = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'accounts'::regclass")


@pytest.fixture
async def replica(db_url: str, tmp_path: Path) -> AsyncIterator[Replica]:
    tokens = write(tmp_path / "tokens", *(line(name, "client") for name in ("a", "b")))
    async with serving(db_url, tokens_file=tokens) as replica:
        yield replica


@asynccontextmanager
async def accounts_stand_still(db_url: str) -> AsyncIterator[Callable[[], int]]:
    """Blocks all calls that read accounts; yields how many of them hold a thread."""
    engine = make_engine(db_url, 2)
    try:
        with engine.connect() as holder, engine.connect() as watcher:
            holder.exec_driver_sql("BEGIN; LOCK TABLE accounts")
            yield lambda: int(watcher.execute(_STUCK).scalar_one())
    finally:
        engine.dispose()


@asynccontextmanager
async def flooded(channel: aio.Channel, name: str) -> AsyncIterator[list[asyncio.Future[Any]]]:
    """That many calls that read accounts, until the block ends."""
    flood: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(Caller(channel, f"{name}-token")("AccountService/ListAccounts")) for _ in range(MANY)
    ]
    try:
        yield flood
    finally:
        for call in flood:
            call.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


async def until(predicate: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    await wait_until_async(predicate, within=PATIENCE_S, what=what)


async def test_a_caller_with_many_slow_calls_leaves_threads_to_others(
    db_url: str, channel: aio.Channel, replica: Replica
) -> None:
    """Those that it cancels take none."""
    other = Caller(channel, "b-token")
    async with accounts_stand_still(db_url) as stuck:
        async with flooded(channel, "a"):
            await until(lambda: stuck() >= READ_THREADS - 1, "the slow calls hold their threads")
            for _ in range(FEW):
                await other("TaskService/ListTasks")
        later = asyncio.ensure_future(Caller(channel, "a-token")("AccountService/ListAccounts"))
        await other("TaskService/ListTasks")
    await later


async def test_addresses_share_threads_if_no_token_is_required(db_url: str) -> None:
    async with (
        serving(db_url) as replica,
        aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel,
        http2.connected(replica.port, "127.0.0.2") as other,
        accounts_stand_still(db_url) as stuck,
    ):
        await other.greet()
        for _ in range(MANY):
            other.call(LIST_ACCOUNTS)
        await until(lambda: stuck() >= READ_THREADS - 1, "the slow calls hold their threads")
        await Caller(channel)("TaskService/ListTasks")


async def test_a_call_that_waits_too_long_for_a_thread_is_refused(
    db_url: str, channel: aio.Channel, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "QUEUE_TIMEOUT", 0.3)
    async with flooded(channel, "a") as flood:
        async with accounts_stand_still(db_url):
            await until(lambda: any(call.done() for call in flood), "one is refused")
            over = next(call for call in flood if call.done())
            with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS") as refusal:
                await over
            assert "within 0.3 s" in refusal.message
            assert refusal.retry_after == 1
            await Caller(channel, "b-token")("TaskService/ListTasks")
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        assert any(isinstance(outcome, dict) for outcome in outcomes), "what has its turn is not refused"


async def test_a_flood_of_submits_is_refused_and_another_caller_s_submit_is_accepted(
    db_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(replica_module, "MAX_WAITING_SUBMITS", MANY)
    tokens = write(tmp_path / "tokens", line("a", "client"), line("b", "client"), line("o", "operator"))
    async with (
        serving(db_url, tokens_file=tokens) as replica,
        aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel,
    ):
        account = (await Caller(channel, "o-token")("AccountService/CreateAccount", name="one"))["account"]
        task = {"account_id": account["account_id"], "topic": "a topic"}
        greedy, modest = Caller(channel, "a-token"), Caller(channel, "b-token")
        with locked_table(db_url, "tasks"):
            flood = asyncio.ensure_future(greedy("TaskService/BatchSubmitTasks", requests=[task] * MANY))
            await until(lambda: replica._submits.state().waiting == 1, "the flood waits")
            with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):  # the only caller has the whole share
                await greedy("TaskService/SubmitTask", **task)
            other = asyncio.ensure_future(modest("TaskService/SubmitTask", **task))
            await until(lambda: replica._submits.state().waiting == 2, "another's waits, too")
            with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS") as refusal:
                await greedy("TaskService/SubmitTask", **task)
            assert refusal.retry_after == 1
        await asyncio.gather(flood, other)
