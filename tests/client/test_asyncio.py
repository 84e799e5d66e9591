"""The asyncio client on one event loop: waits delay no other call, and cancelled reads lose no event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from grpc import aio

from contentgen import AsyncContentGenerationClient
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.client.test_watch import client_threads, pending
from tests.harness.scripted_server import AWAY, SILENCE, THREADS, ScriptedServices, scripted_services
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.contract

TASK = "task-000000000000000a"
WAITS = 100
PENDING = task_pb2.Task(task_id=TASK, status=task_pb2.TASK_STATUS_PENDING)


@pytest.fixture
def scheduler() -> Iterator[ScriptedServices]:
    with scripted_services(threads=WAITS + THREADS) as scheduler:
        yield scheduler


@pytest.fixture
async def client(scheduler: ScriptedServices) -> AsyncIterator[AsyncContentGenerationClient]:
    async with AsyncContentGenerationClient(scheduler.target, timeout=PATIENCE_S) as client:
        yield client


async def test_a_hundred_waits_delay_no_other_call_and_need_no_thread(
    scheduler: ScriptedServices, client: AsyncContentGenerationClient
) -> None:
    scheduler.will("WaitTask", *[SILENCE] * WAITS)
    scheduler.will("GetTask", *[pb.GetTaskResponse(task=PENDING)] * 2)
    scheduler.will("SubmitTask", pb.SubmitTaskResponse(task=PENDING))
    await client.get_task_status(TASK)
    threads = client_threads()
    waits = [asyncio.create_task(client.wait(f"task-{number}")) for number in range(WAITS)]
    await wait_until_async(lambda: scheduler.open_calls == WAITS, within=PATIENCE_S, what="all wait")

    async with asyncio.timeout(PATIENCE_S):
        assert await client.get_task_status(TASK)
        assert await client.submit_task(1, "a topic") == TASK
    assert not any(wait.done() for wait in waits)
    assert client_threads() == threads

    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    assert all(wait.cancelled() for wait in waits)
    await wait_until_async(lambda: scheduler.open_calls == 0, within=PATIENCE_S, what="the scheduler has no call left")


async def test_a_watch_s_backoff_delays_no_call(
    scheduler: ScriptedServices, client: AsyncContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", *[[AWAY]] * 10_000)
    scheduler.will("GetTask", pb.GetTaskResponse(task=PENDING))
    watches = [client.watch([TASK], patience=None) for _ in range(WAITS)]
    reads = [asyncio.create_task(anext(watch)) for watch in watches]
    await wait_until_async(lambda: len(scheduler.calls("WatchTasks")) >= 2 * WAITS, within=PATIENCE_S, what="they try")
    async with asyncio.timeout(PATIENCE_S):
        assert await client.get_task_status(TASK)
    assert not any(read.done() for read in reads)
    for watch in watches:
        watch.close()
    assert {type(ended) for ended in await asyncio.gather(*reads, return_exceptions=True)} == {StopAsyncIteration}


async def test_a_cancelled_read_of_a_watch_loses_no_event(
    scheduler: ScriptedServices, client: AsyncContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", [pending("t1"), SILENCE], [pending("t2"), SILENCE])
    async with client.watch([TASK]) as events:
        assert (await anext(events))["resume_token"] == "t1"
        read = asyncio.create_task(anext(events))
        await asyncio.sleep(0)  # it reads
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        assert (await anext(events))["resume_token"] == "t2"
    assert [request.resume_token for request in scheduler.requests("WatchTasks")] == ["", "t1"]


async def test_closing_the_client_leaves_the_caller_s_channel_open_and_ends_its_watches(
    scheduler: ScriptedServices,
) -> None:
    scheduler.will("WatchTasks", [SILENCE])
    scheduler.will("PollTask", pb.PollTaskResponse(status=task_pb2.TASK_STATUS_PENDING))
    async with aio.insecure_channel(scheduler.target) as channel:
        async with AsyncContentGenerationClient("unused", channel=channel) as client:
            events = client.watch([TASK])
            await events.__aenter__()
        assert [change async for change in events] == []
        assert await AsyncContentGenerationClient("unused", channel=channel).poll_single_task(TASK) == "pending"
