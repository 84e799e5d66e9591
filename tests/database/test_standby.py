"""Reads from a streaming standby: which go there, how old they may be, and what brings them back to the primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from grpc import aio

from contentgen.rpcs import METHODS, RPCS
from contentgen.service.values import Address
from contentgen.v1 import system_service_pb2 as system_pb
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime import standby
from scheduler_svc.schema.migrate import migrate
from tests.harness.cluster import server_folder
from tests.harness.maker import TaskClient, new_account
from tests.harness.processes import free_port
from tests.harness.replicas import channel_to, serving_all, serving_beside
from tests.harness.scrape import Scrape
from tests.harness.stubs import SystemServiceAsyncStub, TaskServiceAsyncStub
from tests.harness.tcp_server import TcpServer
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_async


def settings(primary: TcpServer, read: TcpServer, **more: Any) -> dict[str, Any]:
    """`DATABASE_URL` is for the check of the settings; the replica takes it as an argument."""
    metrics = {"metrics_listen": Address("127.0.0.1", 0)}
    return {"DATABASE_URL": primary.url(), "read_url": read.url(), "read_max_lag": 300.0, **metrics, **more}


@pytest.mark.unit
def test_what_may_be_stale_only_reads() -> None:
    """And what gives an etag for a change, or what a caller's next step rests on, is the primary's."""
    stale = {name for name, rpc in RPCS.items() if rpc.may_be_stale}
    for name in stale:
        assert RPCS[name].changes is None, name
        assert RPCS[name].repeatable, name
        assert not METHODS[name].server_streaming, name
    assert not stale & {
        "TaskService/GetTask",
        "TaskService/WaitTask",
        "ContentService/GetContent",
        "SystemService/GetSystem",
    }


class Servers:
    def __init__(self, primary: TcpServer, standby: TcpServer) -> None:
        self.primary, self.standby = primary, standby

    def pause(self) -> None:
        self.standby.sql("SELECT pg_wal_replay_pause()")
        paused = "SELECT pg_get_wal_replay_pause_state()"
        wait_until(lambda: self.standby.sql(paused) == [("paused",)], within=PATIENCE_S, what="it replays no more")

    def resume(self) -> None:
        self.standby.sql("SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with server_folder() as folder:
        for name in ("primary", "standby"):
            (folder / name).mkdir(mode=0o711)
        port = free_port(following=1)
        primary = TcpServer(folder / "primary", port).create().start()
        migrate(primary.url())
        second = TcpServer(folder / "standby", port + 1).follow(primary).start()
        yield Servers(primary, second)
        for server in (second, primary):
            server.stop("immediate")


class Reader:
    """Who calls one replica."""

    def __init__(self, replica: Replica, channel: aio.Channel, account: int) -> None:
        self.replica = replica
        self.tasks = TaskServiceAsyncStub(channel)
        self.client = TaskClient(self.tasks, account)
        self.system = SystemServiceAsyncStub(channel)

    async def listed(self, **page: Any) -> pb.ListTasksResponse:
        return await self.tasks.ListTasks(pb.ListTasksRequest(account_id=self.client.account, **page))

    async def ids(self, **page: Any) -> list[str]:
        return [task.task_id for task in (await self.listed(**page)).tasks]

    async def problem(self) -> str:
        system = await self.system.GetSystem(system_pb.GetSystemRequest())
        (problem,) = (one.standby_problem for one in system.replicas if one.scheduler_id == self.replica.scheduler_id)
        return problem

    async def until(self, problem: str) -> None:
        async def so() -> bool:
            return await self.problem() == problem

        await wait_until_async(so, within=PATIENCE_S, what=f"the standby is {problem or 'read'}")

    def scraped(self) -> Scrape:
        return Scrape(self.replica.metrics_port)


@pytest.fixture
async def reader(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    monkeypatch.setattr(standby, "CHECK_INTERVAL", 0.1)
    both = settings(servers.primary, servers.standby)
    async with serving_all(servers.primary.url(), 1, **both) as (replica,), channel_to(replica) as channel:
        reader = Reader(replica, channel, await new_account(channel))
        await reader.until("")
        yield reader


async def _caught_up(reader: Reader, *ids: str) -> None:
    async def shown() -> bool:
        before = _fallbacks(reader)
        return {*ids} <= {*await reader.ids()} and _fallbacks(reader) == before

    await wait_until_async(shown, within=PATIENCE_S, what="the standby itself shows them")


def _fallbacks(reader: Reader) -> float:
    scraped = reader.scraped()
    reasons = ("AWAY", "LAGS", "NOT_STANDBY", "OTHER_DATABASE", "CHANGED", "MISSING")
    return sum(scraped("contentgen_standby_fallbacks_total", reason=reason) for reason in reasons)


@pytest.mark.contract
async def test_lists_come_from_the_standby_and_what_a_caller_goes_on_by_from_the_primary(
    servers: Servers, reader: Reader
) -> None:
    first = (await reader.client.submit()).task_id
    await _caught_up(reader, first)
    servers.pause()
    second = (await reader.client.submit(request_id="once")).task_id
    assert await reader.ids() == [first], "the standby has not seen the second"
    assert (await reader.client.get(second)).task_id == second
    assert (await reader.client.submit(request_id="once")).task_id == second
    assert len(await reader.client.events(second)) == 1, "what the standby lacks, the primary tells"
    page = await reader.listed(page_size=1)
    assert [task.task_id for task in page.tasks] == [first]
    assert page.next_page_token == ""

    await reader.client.cancel(second)
    assert {*await reader.ids()} == {first, second}, "a caller sees its own changes"
    scraped = reader.scraped()
    assert scraped("contentgen_standby_fallbacks_total", reason="MISSING") >= 1
    changed = sum(scraped("contentgen_standby_fallbacks_total", reason=reason) for reason in ("CHANGED", "LAGS"))
    assert changed >= 1, "LAGS: the primary has said meanwhile how far the change is"
    assert scraped("contentgen_standby_unused") == 0
    servers.resume()
    await _caught_up(reader, first, second)


@pytest.mark.contract
async def test_later_pages_come_from_the_primary(servers: Servers, reader: Reader) -> None:
    first, second = [(await reader.client.submit()).task_id for _ in range(2)]
    await _caught_up(reader, first, second)
    servers.pause()
    servers.primary.sql("UPDATE task_payloads SET topic = 'of the primary'")
    page = await reader.listed(page_size=1)
    rest = await reader.listed(page_size=1, page_token=page.next_page_token)
    assert [task.task_id for task in (*page.tasks, *rest.tasks)] == [second, first]
    assert [task.topic for task in (*page.tasks, *rest.tasks)] == ["a topic", "of the primary"]
    servers.resume()


@pytest.mark.contract
@pytest.mark.costly("a standby lags, ends and comes back", seconds=4)
async def test_reads_fall_back_while_it_lags_or_is_away(servers: Servers, reader: Reader) -> None:
    impatient = settings(servers.primary, servers.standby, read_max_lag=0.5)
    async with serving_beside(servers.primary.url(), **impatient) as replica, channel_to(replica) as channel:
        close = Reader(replica, channel, reader.client.account)
        await close.until("")
        servers.pause()
        late = (await reader.client.submit()).task_id
        await close.until("LAGS")
        assert await close.ids() == [late]
        assert await reader.ids() == [], "within its bound"
        assert close.scraped()("contentgen_standby_unused") == 1
        assert close.scraped()("contentgen_standby_lag_seconds") > 0.5
        servers.resume()
        await close.until("")

        servers.standby.stop("immediate")
        assert await reader.ids() == [late], "at once, though nobody has looked since"
        await reader.until("AWAY")
        assert await reader.ids() == [late]
        servers.standby.start()
        await reader.until("")
        await _caught_up(reader, late)


@pytest.mark.contract
@pytest.mark.costly("a standby is frozen, and a replica ends beside it", seconds=3)
async def test_a_frozen_standby_holds_up_no_read_for_long_nor_the_end_of_a_replica(
    servers: Servers, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = (await reader.client.submit()).task_id
    await _caught_up(reader, task_id)
    both = settings(servers.primary, servers.standby)
    with ExitStack() as thawing:
        async with serving_beside(servers.primary.url(), **both) as replica, channel_to(replica) as channel:
            other = Reader(replica, channel, reader.client.account)
            await other.until("")
            with monkeypatch.context() as quick:
                quick.setattr(standby, "ANSWER_TIMEOUT", 1.0)
                thawing.enter_context(servers.standby.frozen())
                lists = await asyncio.gather(*(one.ids() for one in (reader, other) for _ in range(8)))
                assert lists == 16 * [[task_id]], "more than the standby has connections for"
                await reader.until("AWAY")
                assert await reader.ids() == [task_id]
    await reader.until("")
    await _caught_up(reader, task_id)


@pytest.mark.contract
async def test_a_server_that_is_no_standby_is_not_read(servers: Servers) -> None:
    itself = settings(servers.primary, servers.primary)
    async with serving_all(servers.primary.url(), 1, **itself) as (replica,), channel_to(replica) as channel:
        reader = Reader(replica, channel, await new_account(channel))
        await reader.until("NOT_STANDBY")
        task_id = (await reader.client.submit()).task_id
        assert await reader.ids() == [task_id]
