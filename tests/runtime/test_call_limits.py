"""Limits of each caller's concurrent calls, waits, streams, messages and health calls, and its share of threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub
from scheduler_svc.leases import service as worker_service
from scheduler_svc.replica import replica as replica_module
from scheduler_svc.replica.pools import READ_THREADS
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime import calls
from scheduler_svc.runtime.access import Limits
from tests.harness import http2
from tests.harness.client import refused
from tests.harness.credentials import Caller, line, write
from tests.harness.database_faults import locked_table
from tests.harness.load import HonestCallers
from tests.harness.replicas import channel_to, serving
from tests.harness.scheduling import sql
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.waiting import PATIENCE_S, beside, wait_until_async

pytestmark = pytest.mark.contract

FEW = 3
LIMITS = Limits(
    calls=FEW,
    waits=FEW,
    watches=FEW,
    leases=FEW,
    probes=FEW,
    all_probes=FEW + 1,
    health_watches=FEW,
    all_health_watches=FEW + 1,
    open_message_timeout=30.0,
)
GET_TASK = "/contentgen.v1.TaskService/GetTask"
LIST_ACCOUNTS = "/contentgen.v1.AccountService/ListAccounts"
CHECK_HEALTH = "/grpc.health.v1.Health/Check"
WATCH_HEALTH = "/grpc.health.v1.Health/Watch"


@pytest.fixture
def replica_settings(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    tokens = write(tmp_path / "tokens", *(line(name, "operator") for name in ("a", "b")))
    return {"limits": getattr(request, "param", LIMITS), "tokens_file": tokens}


def of(name: str) -> Any:
    """The metadata of a call with this name's token."""
    return (("authorization", f"Bearer {name}-token"),)


def silent_call(channel: aio.Channel, name: str) -> Any:
    """A call of GetTask whose message has not been sent."""
    call: Any = channel.stream_unary(GET_TASK)
    return call(metadata=of(name))


async def test_a_call_whose_message_never_arrives_is_refused(db_url: str) -> None:
    """A health check has less time."""
    limits = Limits(message_timeout=0.3, open_message_timeout=0.2)
    async with (
        serving(db_url, limits=limits) as replica,
        channel_to(replica) as channel,
        http2.connected(replica.port) as peer,
        HonestCallers(replica).calling(),
    ):
        await peer.greet()
        for path in (CHECK_HEALTH, WATCH_HEALTH):
            assert b"within 0.2 s" in (await peer.first(peer.begin(path))).payload
        for _ in range(2):
            calls = [silent_call(channel, "a") for _ in range(3)]
            for call in calls:
                with refused(StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_SLOW") as refusal:
                    await call
                assert "within 0.3 s" in refusal.message


async def test_the_work_of_a_call_does_not_grow_with_the_number_of_methods(
    channel: aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """grpc.aio waits for the next call of each registered method."""
    waited: list[int] = []
    wait = asyncio.wait

    def counting(futures: Any, **options: Any) -> Any:
        waited.append(len(futures))
        return wait(futures, **options)

    monkeypatch.setattr(asyncio, "wait", counting)
    for _ in range(2):
        await Caller(channel, "a-token")("AccountService/ListAccounts")
    assert waited
    assert max(waited) == 1


async def test_each_caller_has_its_own_limit_of_calls(channel: aio.Channel) -> None:
    calls = {asyncio.ensure_future(silent_call(channel, "a")) for _ in range(FEW + 1)}
    done, held = await asyncio.wait(calls, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    (refused_call,) = done
    with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS") as refusal:
        await refused_call
    assert refusal.message.startswith("this caller has 3 calls in progress")
    assert refusal.retry_after == 1
    with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"):
        await Caller(channel, "a-token")("AccountService/ListAccounts")
    await Caller(channel, "b-token")("AccountService/ListAccounts")
    for call in held:
        call.cancel()
    await until_served(channel)


async def until_served(channel: aio.Channel) -> None:
    """Waits until no limit refuses a call of the caller `a`."""

    async def served() -> bool:
        return not await Caller(channel, "a-token").refused(StatusCode.RESOURCE_EXHAUSTED)

    await wait_until_async(served, within=PATIENCE_S, what="a is served again")


async def test_waits_watches_and_lease_streams_have_limits_of_their_own(channel: aio.Channel) -> None:
    one, other = Caller(channel, "a-token"), Caller(channel, "b-token")
    account = (await one("AccountService/CreateAccount", name="one"))["account"]
    task = await one("TaskService/SubmitTask", account_id=account["account_id"], topic="a topic")
    task_id: str = task["task"]["task_id"]
    stub = TaskServiceStub(channel)

    request = pb.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=60))
    calls = {asyncio.ensure_future(stub.WaitTask(request, metadata=of("a"))) for _ in range(FEW + 1)}
    done, waits = await asyncio.wait(calls, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    (refused_call,) = done
    with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS") as refusal:
        await refused_call
    assert "3 WaitTask calls" in refusal.message
    await other("TaskService/WaitTask", task_id=task_id, timeout="0s")

    watches: list[Any] = [
        stub.WatchTasks(pb.WatchTasksRequest(task_ids=[task_id]), metadata=of("a")) for _ in range(FEW)
    ]
    for watch in watches:
        await watch.read()
    with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"):
        await one("TaskService/WatchTasks", task_ids=[task_id])
    await other("TaskService/WatchTasks", task_ids=[task_id])

    async with AsyncExitStack() as workers:
        for i in range(FEW):
            greeting = hello(worker_id=f"w{i}", folder_id=f"f{i}")
            await workers.enter_async_context(ScriptedWorker(channel, greeting, token="a-token"))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"):
            await WorkerServiceStub(channel).Lease(metadata=of("a")).read()  # a write may come after the refusal
        await workers.enter_async_context(ScriptedWorker(channel, hello(worker_id="w", folder_id="f"), "b-token"))
        await one("TaskService/GetTask", task_id=task_id)  # in spite of all of these
    for call in (*waits, *watches):
        call.cancel()


async def test_a_lease_stream_without_a_hello_ends(channel: aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_service, "HELLO_TIMEOUT", 0.2)
    stream = WorkerServiceStub(channel).Lease(metadata=of("a"))
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        answer: worker_pb.LeaseResponse | Any = await stream.read()
        assert answer is not None
    assert refusal.fields == ["message"]


async def test_health_watches_are_limited_by_address_and_in_total_and_refuse_no_check(
    channel: aio.Channel, replica: Replica
) -> None:
    health: Any = HealthStub(channel)
    held: list[Any] = [health.Watch(HealthCheckRequest()) for _ in range(FEW)]
    for watch in held:
        await watch.read()
    with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS") as refusal:
        await health.Watch(HealthCheckRequest()).read()
    assert refusal.message.startswith("this caller has 3 health watches in progress")
    await health.Check(HealthCheckRequest())
    async with HonestCallers(replica, "a-token").calling(), http2.connected(replica.port, "127.0.0.2") as other:
        await other.greet()
        taken = await other.first(other.call(WATCH_HEALTH))
        assert not taken.flags & http2.END_STREAM
        turned_away = await other.first(other.call(WATCH_HEALTH))
        assert b"4 health watches are in progress" in turned_away.payload
        assert b"grpc-status" not in (await other.first(other.call(CHECK_HEALTH))).payload
    for watch in held:
        watch.cancel()


async def test_a_health_check_is_served_however_many_others_stall(channel: aio.Channel, replica: Replica) -> None:
    async with AsyncExitStack() as peers:
        stalled = []
        for address in ("127.0.0.2", "127.0.0.3"):
            peer = await peers.enter_async_context(http2.connected(replica.port, address))
            await peer.greet()
            stalled += [(peer, peer.begin(CHECK_HEALTH)) for _ in range(FEW - 1)]
            assert b"grpc-status" not in (await peer.first(peer.call(CHECK_HEALTH))).payload
        health: Any = HealthStub(channel)
        await health.Check(HealthCheckRequest())
        peer, stream = stalled[0]
        assert b"did not come" in (await peer.first(stream)).payload  # the oldest makes way


async def test_a_call_counts_until_its_answer_is_read(channel: aio.Channel, replica: Replica) -> None:
    async with HonestCallers(replica, "b-token").calling(), http2.connected(replica.port) as greedy:
        await greedy.greet(window=0)
        for _ in range(FEW):
            stream = greedy.call(LIST_ACCOUNTS, of("a"))
            assert (await greedy.first(stream)).kind == http2.HEADERS  # the answer is ready, and nobody reads it
        with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"):
            await Caller(channel, "a-token")("AccountService/ListAccounts")
    await until_served(channel)


# Callers share a replica fairly: one with many slow calls delays the call of another by one call at most.


MANY = 50
STUCK = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'accounts'::regclass"


unlimited = pytest.mark.parametrize("replica_settings", [Limits()], indirect=True)


@asynccontextmanager
async def flooded(channel: aio.Channel, name: str) -> AsyncIterator[list[asyncio.Task[object]]]:
    """That many calls that read accounts, until the block ends."""
    calls = (Caller(channel, f"{name}-token")("AccountService/ListAccounts") for _ in range(MANY))
    async with beside(*calls) as flood:
        yield flood


async def until(predicate: Callable[[], bool], what: str) -> None:
    await wait_until_async(predicate, within=PATIENCE_S, what=what)


async def until_threads_are_held(engine: sa.Engine) -> None:
    """By calls that read accounts, as many as one caller may have; the table is locked."""
    await until(lambda: len(sql(engine, STUCK)) >= READ_THREADS - 1, "the slow calls hold their threads")


@unlimited
async def test_a_caller_with_many_slow_calls_leaves_threads_to_others(
    db_url: str, engine: sa.Engine, channel: aio.Channel, replica: Replica
) -> None:
    """Those that it cancels take none."""
    other = Caller(channel, "b-token")
    with locked_table(db_url, "accounts"):
        async with flooded(channel, "a"):
            await until_threads_are_held(engine)
            for _ in range(FEW):
                await other("TaskService/ListTasks")
        later = asyncio.ensure_future(Caller(channel, "a-token")("AccountService/ListAccounts"))
        await other("TaskService/ListTasks")
    await later


async def test_an_address_is_a_caller_if_no_token_is_required(db_url: str, engine: sa.Engine) -> None:
    """It has its own limit of calls, and its share of the threads."""
    async with (
        serving(db_url, limits=Limits(calls=MANY)) as replica,
        channel_to(replica) as channel,
        http2.connected(replica.port, "127.0.0.2") as other,
    ):
        await other.greet()
        with locked_table(db_url, "accounts"):
            for _ in range(MANY):
                other.call(LIST_ACCOUNTS)
            await until_threads_are_held(engine)
            assert b"this caller has 50 calls in progress" in (await other.first(other.call(GET_TASK))).payload
            await Caller(channel)("TaskService/ListTasks")


@unlimited
async def test_a_call_that_waits_too_long_for_a_thread_is_refused(
    db_url: str, channel: aio.Channel, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "QUEUE_TIMEOUT", 0.3)
    async with flooded(channel, "a") as flood:
        with locked_table(db_url, "accounts"):
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
    """Large tasks count by their bytes: half as many as may wait fill the lane."""
    monkeypatch.setattr(replica_module, "MAX_WAITING_SUBMITS", MANY)
    tokens = write(tmp_path / "tokens", line("a", "client"), line("b", "client"), line("o", "operator"))
    async with serving(db_url, tokens_file=tokens) as replica, channel_to(replica) as channel:
        account = (await Caller(channel, "o-token")("AccountService/CreateAccount", name="one"))["account"]
        task = {"account_id": account["account_id"], "topic": "a topic"}
        greedy, modest = Caller(channel, "a-token"), Caller(channel, "b-token")
        with locked_table(db_url, "tasks"):
            large = task | {"requirements": "x" * 3 * replica_module.SUBMIT_BYTES_PER_WEIGHT}
            flood = asyncio.ensure_future(greedy("TaskService/BatchSubmitTasks", requests=[large] * (MANY // 2)))
            await until(lambda: replica._submits.state().waiting == 1, "the flood waits")
            with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):  # the only caller has the whole share
                await greedy("TaskService/SubmitTask", **task)
            other = asyncio.ensure_future(modest("TaskService/SubmitTask", **task))
            await until(lambda: replica._submits.state().waiting == 2, "another's waits, too")
            with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS") as refusal:
                await greedy("TaskService/SubmitTask", **task)
            assert refusal.retry_after == 1
        await asyncio.gather(flood, other)
