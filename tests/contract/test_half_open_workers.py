"""Workers whose CLI may be broken: they get probe tasks, and learn which tasks failed on other workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from grpc import aio

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from tests.harness.lease_stream import hello
from tests.harness.scripted_worker import ScriptedWorker

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = pytest.mark.usefixtures("shared")


@asynccontextmanager
async def two_workers(channel: aio.Channel) -> AsyncIterator[tuple[ScriptedWorker, ScriptedWorker]]:
    async with ScriptedWorker(channel) as one, ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2")) as other:
        yield one, other


async def submit(tasks: TaskServiceAsyncStub, account: int) -> task_pb2.Task:
    return (await tasks.SubmitTask(pb.SubmitTaskRequest(account_id=account, topic="a topic"))).task


async def test_a_half_open_worker_is_offered_the_next_task_before_all_others(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    async with two_workers(channel) as (well, ill):
        ill.last_error = "no model answers"
        await ill.heartbeat(1)  # first: a claim for a worker with known free slots may be in progress already
        await well.heartbeat(3)
        first = await submit(tasks, account)
        (tried,) = await ill.assigned()
        assert tried.task.task_id == first.task_id
        second = await submit(tasks, account)
        (other,) = await well.assigned()
        assert other.task.task_id == second.task_id


async def test_a_worker_that_is_healthy_again_is_served_like_others(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    async with two_workers(channel) as (emptier, mended):
        mended.last_error = "no model answers"
        await mended.heartbeat(0)
        mended.last_error = None
        await emptier.heartbeat(3)
        await mended.heartbeat(1)
        await submit(tasks, account)
        assert await emptier.assigned()


async def test_an_assignment_tells_whether_its_task_failed_on_another_worker(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    task = await submit(tasks, account)
    async with two_workers(channel) as workers:
        for worker, elsewhere in zip((*workers, workers[1], workers[0]), (False, True, False, True), strict=True):
            (lease,) = await worker.take()
            assert lease.failed_elsewhere is elsewhere
            await worker.start(lease)
            await worker.fail(lease)
            await worker.heartbeat(0)
            await tasks.RetryTask(pb.RetryTaskRequest(task_id=task.task_id, reset_retry_count=True))


async def test_a_released_task_did_not_fail_elsewhere(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    await submit(tasks, account)
    async with two_workers(channel) as (one, other):
        (lease,) = await one.take()
        await one.report(lease, released=worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING))
        await one.heartbeat(0)
        (lease,) = await other.take()
        assert (lease.attempt, lease.failed_elsewhere) == (2, False)
