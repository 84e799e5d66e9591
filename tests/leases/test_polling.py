"""PollRunningTasks and PollTask over real servers on a real database, with scripted workers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio

from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.replica.replica import Replica
from tests.harness.client import refused
from tests.harness.credentials import Caller
from tests.harness.maker import TaskClient, new_account
from tests.harness.replicas import channel_to, serving_beside
from tests.harness.scripted_worker import ScriptedWorker, hello

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

MAX_S = 10.0
"""Seconds that a call may take by the contract."""
SOON_S = 5.0
"""Seconds, less than the timeout after which a worker counts as silent."""


@pytest.fixture
def caller(channel: aio.Channel) -> Caller:
    return Caller(channel)


async def started(client: TaskClient, worker: ScriptedWorker, count: int = 1) -> list[worker_pb.AssignedLease]:
    """The leases of that many new tasks, whose CLIs run."""
    await client.submit_all(count)
    leases = await worker.take_all(count)
    for lease in leases:
        await worker.start(lease)
    return leases


def poll_running(caller: Caller, **fields: Any) -> asyncio.Task[dict[str, Any]]:
    return asyncio.create_task(caller("TaskService/PollRunningTasks", **fields))


def poll_task(caller: Caller, task_id: str) -> asyncio.Task[dict[str, Any]]:
    return asyncio.create_task(caller("TaskService/PollTask", task_id=task_id))


async def soon(call: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
    """The result of a poll that all workers have answered."""
    async with asyncio.timeout(SOON_S):
        return await call


async def test_a_poll_of_an_account_counts_its_tasks_and_polls_their_workers_only(
    client: TaskClient, channel: aio.Channel, worker: ScriptedWorker
) -> None:
    caller = Caller(channel)
    other = await new_account(channel)
    async with ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2")) as second:
        await started(client, worker, 2)
        await worker.heartbeat(0)
        await started(TaskClient(client.stub, other), second)
        call = poll_running(caller, account_id=other)
        await second.polled()
        await second.heartbeat(0)
        assert await soon(call) == {"total": 1, "still_running": 1}
    assert await soon(poll_running(caller, account_id=999)) == {}


@pytest.mark.usefixtures("replica")
async def test_concurrent_callers_get_the_same_counts_on_any_replica(
    caller: Caller, client: TaskClient, worker: ScriptedWorker, db_url: str
) -> None:
    done, _ = await started(client, worker, 2)
    async with serving_beside(db_url) as other, channel_to(other) as channel:
        calls = [poll_running(who) for who in (caller, Caller(channel)) * 3]
        polls = {await worker.polled() for _ in calls}
        assert len(polls) == len(calls)
        await worker.complete(done)
        worker.last_poll_id = max(polls, key=int)  # its answer answers all before it
        await worker.heartbeat(0)
        figures = [await soon(call) for call in calls]
        assert figures == [{"total": 2, "completed": 1, "still_running": 1}] * len(calls)


async def test_an_answer_to_an_earlier_poll_is_none_to_a_later_one(
    caller: Caller, client: TaskClient, worker: ScriptedWorker
) -> None:
    (lease,) = await started(client, worker)
    earlier = poll_running(caller)
    answered = await worker.polled()
    later = poll_running(caller)
    unanswered = await worker.polled()
    worker.last_poll_id = answered
    await worker.heartbeat(0)
    assert await soon(earlier) == {"total": 1, "still_running": 1}
    await worker.complete(lease)
    worker.last_poll_id = unanswered
    await worker.heartbeat(0)
    assert await soon(later) == {"total": 1, "completed": 1}


async def test_silent_workers_count_as_errors_after_10_s(
    caller: Caller, client: TaskClient, channel: aio.Channel, worker: ScriptedWorker
) -> None:
    silent, late = await started(client, worker, 2)
    async with ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2")) as second:
        await worker.heartbeat(0)
        await started(client, second)
        begun = time.monotonic()
        all_of_them, one = poll_running(caller), poll_task(caller, silent.task.task_id)
        await second.polled()
        await second.heartbeat(0)
        await worker.complete(late)  # its report counts, although it does not answer the poll
        await worker.heartbeat(0)
        assert await all_of_them == {"total": 3, "completed": 1, "still_running": 1, "error": 1}
        assert await one == {"status": "TASK_STATUS_PROCESSING"}
        assert time.monotonic() - begun < MAX_S


async def test_a_poll_waits_for_a_reconnecting_worker(caller: Caller, client: TaskClient, channel: aio.Channel) -> None:
    async with ScriptedWorker(channel) as worker:
        (lease,) = await started(client, worker)
    call = poll_task(caller, lease.task.task_id)
    held = [worker_pb.HeldLease(lease_id=lease.lease_id, attempt=lease.attempt)]
    async with ScriptedWorker(channel, hello(session_number=2, held_leases=held)) as worker:
        worker.held[lease.lease_id] = lease
        await worker.polled()
        await worker.complete(lease)
        await worker.heartbeat(0)
        assert await soon(call) == {"status": "TASK_STATUS_COMPLETED"}


async def test_a_lost_poll_is_sent_with_the_next_acknowledgement(worker: ScriptedWorker, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE workers SET requested_poll = 41, poll_time = now()"))
    await worker.heartbeat(0)
    assert await worker.polled() == "41"
    await worker.heartbeat(0)
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT answered_poll FROM workers")).scalar_one() == 41


async def test_a_stopping_replica_refuses_its_callers_with_unavailable(
    caller: Caller, client: TaskClient, replica: Replica, channel: aio.Channel
) -> None:
    async with ScriptedWorker(channel) as worker:
        (lease,) = await started(client, worker)
        call = poll_task(caller, lease.task.task_id)
        await worker.polled()
        stopped = asyncio.create_task(replica.stop())
        with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
            await soon(call)
    await stopped
