"""WorkerPoolService over a real server on a real database, with scripted workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pb
from grpc import StatusCode, aio

from scheduler_svc.replica import Replica
from tests.contract.rpc_errors import refused
from tests.contract.scripted_worker import ScriptedWorker, hello
from tests.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub
    from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceAsyncStub


async def test_an_empty_pool(pool: WorkerPoolServiceAsyncStub) -> None:
    assert await pool.GetWorkerPool(pb.GetWorkerPoolRequest()) == pb.GetWorkerPoolResponse()


async def test_the_pool_shows_each_worker(
    pool: WorkerPoolServiceAsyncStub, tasks: TaskServiceAsyncStub, channel: aio.Channel, replica: Replica, account: int
) -> None:
    for _ in range(2):
        await tasks.SubmitTask(task_pb.SubmitTaskRequest(account_id=account, topic="a topic"))
    greeting = hello(
        worker_id="w2", folder_id="f2", labels={"zone": "a"}, version="1.2", creator_version="content-creator 3"
    )
    async with ScriptedWorker(channel) as first, ScriptedWorker(channel, greeting) as second:
        (lease,) = await first.take()
        await first.start(lease)
        await first.state(0)
        await second.state(0)
        answer = await pool.GetWorkerPool(pb.GetWorkerPoolRequest())
        assert (answer.num_workers, answer.active_workers, answer.total_queue_size) == (2, 1, 1)
        busy, idle = answer.workers
        assert (busy.worker_id, busy.running, busy.slots, busy.busy_slots) == ("w1", True, 3, 1)
        assert (idle.worker_id, idle.running, idle.busy_slots, idle.queue_size) == ("w2", True, 0, 0)
        assert (dict(idle.labels), idle.version, idle.creator_version) == ({"zone": "a"}, "1.2", "content-creator 3")
        assert (idle.hostname, idle.scheduler_id, idle.draining) == ("host", replica.scheduler_id, False)
        assert idle.last_heartbeat_time.ToMicroseconds() >= idle.connect_time.ToMicroseconds() > 0

    gone: Callable[[], bool | Awaitable[bool]] = partial(both_are_gone, pool)
    await wait_until_async(gone, within=10, what="both workers are shown as gone")


async def both_are_gone(pool: WorkerPoolServiceAsyncStub) -> bool:
    answer = await pool.GetWorkerPool(pb.GetWorkerPoolRequest())
    return answer.num_workers == 0 and [worker.running for worker in answer.workers] == [False, False]


async def test_a_worker_is_told_to_drain(pool: WorkerPoolServiceAsyncStub, worker: ScriptedWorker) -> None:
    drained = (await pool.DrainWorker(pb.DrainWorkerRequest(worker_id="w1"))).worker
    assert (drained.worker_id, drained.draining, drained.running) == ("w1", True, False)
    await worker.read("drain")
    assert (await worker.state(3)).wanted.drain


async def test_an_unknown_worker_is_not_found(pool: WorkerPoolServiceAsyncStub) -> None:
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await pool.DrainWorker(pb.DrainWorkerRequest(worker_id="none"))
    assert refusal.metadata == {"resource_type": "worker", "resource_id": "none"}


@pytest.mark.parametrize("worker_id", ["", " ", "w" * 201, "w\0"])
async def test_a_worker_is_named_by_its_id(pool: WorkerPoolServiceAsyncStub, worker_id: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await pool.DrainWorker(pb.DrainWorkerRequest(worker_id=worker_id))
    assert refusal.fields == ["worker_id"]


@pytest.mark.parametrize("rpc", ["ResizeWorker"])
async def test_what_comes_later_says_so(pool: WorkerPoolServiceAsyncStub, rpc: str) -> None:
    with refused(StatusCode.UNIMPLEMENTED):
        await getattr(pool, rpc)(getattr(pb, f"{rpc}Request")())
