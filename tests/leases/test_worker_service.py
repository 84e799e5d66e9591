"""WorkerService.Lease over a real server on a real database."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode, aio

from contentgen.submit_fields import BRIEF
from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.leases import service as worker_service
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.group_committer import GroupCommitter
from tests.harness.client import refused
from tests.harness.credentials import Caller
from tests.harness.maker import TaskClient, new_account
from tests.harness.replicas import channel_to, serving_beside
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


COMMITTED = worker_pb.UPDATE_OUTCOME_COMMITTED


async def test_a_stream_is_rotated_after_its_maximum_age(channel: aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_service, "ROTATION_INTERVAL", (0.1, 0.2))
    async with ScriptedWorker(channel) as worker:
        await worker.read("reconnect")
        assert (await worker.heartbeat(free_slots=0)).heartbeat_number == 1


async def test_a_stream_is_rotated_after_the_last_part_of_a_report(
    client: TaskClient, channel: aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another stream the parts would have to be sent again."""
    monkeypatch.setattr(worker_service, "ROTATION_INTERVAL", (1.0, 1.0))
    monkeypatch.setattr(worker_service, "ROTATION_RETRY_INTERVAL", 0.2)
    looks: list[None] = []
    rotate = worker_service._StreamHandler._rotate

    def looked(handler: worker_service._StreamHandler) -> None:
        looks.append(None)
        rotate(handler)

    monkeypatch.setattr(worker_service._StreamHandler, "_rotate", looked)
    await client.submit()
    async with ScriptedWorker(channel) as worker:
        (lease,) = await worker.take()
        first, last = in_parts(result_of(lease, 1, "x" * 900), 500)
        await worker.write(worker_pb.LeaseRequest(report_part=first))
        await worker.read("part_received")
        await wait_until_async(lambda: len(looks) > 1, within=10, what="it is looked again and again")
        await worker.write(worker_pb.LeaseRequest(report_part=last))
        answer = (await worker.read("acknowledgement")).acknowledgement
        assert answer.report_number == 1
        await worker.read("reconnect")


async def test_heartbeats_that_change_nothing_share_transactions(
    channel: aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_service, "GATHER_TIME", 1.0)  # more than the second heartbeats take to arrive
    groups: list[int] = []
    process = GroupCommitter._process

    def counted(lane: GroupCommitter[Any, Any], group: list[Any]) -> None:
        groups.append(len(group))
        process(lane, group)

    monkeypatch.setattr(GroupCommitter, "_process", counted)
    async with AsyncExitStack() as exits:
        workers = [
            await exits.enter_async_context(ScriptedWorker(channel, hello(worker_id=f"w{n}", folder_id=f"f{n}")))
            for n in range(6)
        ]
        for worker in workers:
            await worker.heartbeat(0)
        groups.clear()
        acknowledgements = await asyncio.gather(*(worker.heartbeat(0) for worker in workers))
    assert [acknowledgement.heartbeat_number for acknowledgement in acknowledgements] == [2] * 6
    assert sum(groups) == 6
    assert len(groups) < 6


async def test_a_report_comes_after_a_heartbeat_that_waits_for_others(
    worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_service, "GATHER_TIME", 3_600.0)
    await worker.heartbeat(0)
    await worker.send_heartbeat(0)
    await worker.send_report(worker_pb.LeaseUpdate(lease_id="nobody-has-it", attempt=1, accepted=worker_pb.Accepted()))
    first, second = [(await worker.read("acknowledgement")).acknowledgement for _ in range(2)]
    assert (first.heartbeat_number, second.report_number) == (2, 1)


async def test_a_stream_that_ends_for_two_reasons_logs_no_error(
    replica: Replica, channel: aio.Channel, worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    newer = hello(session_number=2)
    async with ScriptedWorker(channel, newer):
        await worker.send_heartbeat(1)  # refused when it is processed: a newer session is open
        with suppress(aio.AioRpcError):
            await worker.write(worker_pb.LeaseRequest())  # refused at once
            await worker.read("assignment")
        waiting = replica._report_lanes.state
        await wait_until_async(lambda: not waiting().waiting, within=10, what="the heartbeat is processed")
        gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_assignment_has_all_fields_that_the_cli_needs(client: TaskClient, worker: ScriptedWorker) -> None:
    texts: dict[str, Any] = {field.name: f"a {field.name}" for field in BRIEF[1:]}
    options = {"length": "800"}
    task = await client.submit(**texts, timeout=Duration(seconds=90), creator_options=options)
    (lease,) = await worker.take()
    assert lease.lease_id.startswith("lease-")
    assert lease.attempt == 1
    assert lease.timeout == Duration(seconds=90)
    assert dict(lease.creator_options) == options
    assert (lease.task.task_id, lease.task.topic) == (task.task_id, "a topic")
    assert {name: getattr(lease.task, name) for name in texts} == texts
    stored = await client.get(task.task_id)
    assert (stored.status, stored.lease_id) == (task_pb2.TASK_STATUS_SUBMITTED, lease.lease_id)


async def test_a_result_of_the_maximum_size_is_stored(client: TaskClient, worker: ScriptedWorker) -> None:
    task = await client.submit()
    (lease,) = await worker.take()
    assert await worker.complete(lease, "题" * (1 << 20)) == COMMITTED
    assert (await client.get(task.task_id)).status == task_pb2.TASK_STATUS_COMPLETED


def in_parts(report: worker_pb.Report, size: int) -> list[worker_pb.ReportPart]:
    """A report as it is sent in parts."""
    data = report.SerializeToString()
    cuts = range(0, len(data), size)
    return [
        worker_pb.ReportPart(report_number=report.number, data=data[cut : cut + size], last=cut == cuts[-1])
        for cut in cuts
    ]


def result_of(lease: worker_pb.AssignedLease, number: int, body: str) -> worker_pb.Report:
    update = worker_pb.LeaseUpdate(lease_id=lease.lease_id, attempt=lease.attempt)
    update.completed.result.body = body
    return worker_pb.Report(number=number, updates=[update])


async def test_a_report_may_come_in_parts_with_others_in_between(client: TaskClient, worker: ScriptedWorker) -> None:
    assert worker.welcome.accepts_report_parts
    assert worker.welcome.accepts_deferrals
    await client.submit_all(2)
    leases = await worker.take_all(2)
    large, beside = leases
    *parts, last = in_parts(result_of(large, 7, "a long article, 很长" * 10_000), 100_001)
    for part in parts:
        await worker.write(worker_pb.LeaseRequest(report_part=part))
    received = [(await worker.read("part_received")).part_received for _ in parts]
    assert [receipt.report_number for receipt in received] == [7] * len(parts)
    assert [receipt.received_bytes for receipt in received] == [100_001 * (n + 1) for n in range(len(parts))]
    assert (await worker.heartbeat(0)).not_renewed_leases == []
    assert await worker.complete(beside) == COMMITTED
    assert (await client.get(large.task.task_id)).status == task_pb2.TASK_STATUS_SUBMITTED
    await worker.write(worker_pb.LeaseRequest(report_part=last))
    answer = (await worker.read("acknowledgement")).acknowledgement
    assert (answer.report_number, [result.outcome for result in answer.results]) == (7, [COMMITTED])
    assert (await client.get(large.task.task_id)).status == task_pb2.TASK_STATUS_COMPLETED


async def test_parts_of_a_report_are_dropped_with_their_stream(client: TaskClient, channel: aio.Channel) -> None:
    await client.submit()
    async with ScriptedWorker(channel) as worker:
        (lease,) = await worker.take()
        first, *_ = parts = in_parts(result_of(lease, 1, "x" * 1_000), 500)
        await worker.write(worker_pb.LeaseRequest(report_part=first))
        await worker.read("part_received")
    held = worker_pb.HeldLease(lease_id=lease.lease_id, attempt=1)
    async with ScriptedWorker(channel, hello(session_number=2, held_leases=[held])) as again:
        for part in parts:
            await again.write(worker_pb.LeaseRequest(report_part=part))
        answer = (await again.read("acknowledgement")).acknowledgement
        assert [result.outcome for result in answer.results] == [COMMITTED]


# Workers whose CLI may be broken: they get probe tasks, and learn which tasks failed on other workers.


@asynccontextmanager
async def two_workers(channel: aio.Channel) -> AsyncIterator[tuple[ScriptedWorker, ScriptedWorker]]:
    async with ScriptedWorker(channel) as one, ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2")) as other:
        yield one, other


async def test_a_half_open_worker_is_offered_the_next_task_before_all_others(
    client: TaskClient, channel: aio.Channel
) -> None:
    async with two_workers(channel) as (well, ill):
        ill.last_error = "no model answers"
        await ill.heartbeat(1)  # first: a claim for a worker with known free slots may be in progress already
        await well.heartbeat(3)
        first = await client.submit()
        (tried,) = await ill.assigned()
        assert tried.task.task_id == first.task_id
        second = await client.submit()
        (other,) = await well.assigned()
        assert other.task.task_id == second.task_id


async def test_a_worker_that_is_healthy_again_is_served_like_others(client: TaskClient, channel: aio.Channel) -> None:
    async with two_workers(channel) as (emptier, mended):
        mended.last_error = "no model answers"
        await mended.heartbeat(0)
        mended.last_error = None
        await emptier.heartbeat(3)
        await mended.heartbeat(1)
        await client.submit()
        assert await emptier.assigned()


async def test_an_assignment_tells_whether_its_task_failed_on_another_worker(
    client: TaskClient, channel: aio.Channel
) -> None:
    task = await client.submit()
    async with two_workers(channel) as workers:
        (lease,) = await workers[1].take()
        await workers[1].report(lease, released=worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING))
        await workers[1].heartbeat(0)
        for worker, elsewhere in zip((*workers, workers[1], workers[0]), (False, True, False, True), strict=True):
            (lease,) = await worker.take()
            assert lease.failed_elsewhere is elsewhere
            await worker.start(lease)
            await worker.fail(lease)
            await worker.heartbeat(0)
            await client.retry(task.task_id, reset_retry_count=True)


# PollRunningTasks and PollTask over real servers on a real database, with scripted workers.


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
