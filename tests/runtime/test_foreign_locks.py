"""Another session holds a lock in the database: work that needs it waits or fails, and all other work continues."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from structlog.testing import capture_logs

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.replica.replica import Replica
from tests.harness.client import refused
from tests.harness.database_faults import APPLICATION, locked_rows, locked_table
from tests.harness.maker import batch, new_account, submitted
from tests.harness.scheduling import sql
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.contract

LEASE_TTL_S = 6.0
HEARTBEAT_S = LEASE_TTL_S / 3
LOCK_TIMEOUT_S = 0.3
COMMITTED = worker_pb.UPDATE_OUTCOME_COMMITTED


@pytest.fixture
def replica_settings(request: pytest.FixtureRequest) -> dict[str, float]:
    return {"lease_ttl": LEASE_TTL_S, "lock_timeout": getattr(request, "param", LOCK_TIMEOUT_S)}


async def status(tasks: TaskServiceAsyncStub, task_id: str) -> task_pb2.TaskStatus.ValueType:
    return (await tasks.GetTask(pb.GetTaskRequest(task_id=task_id))).task.status


async def health(channel: aio.Channel) -> Any:
    stub: Any = HealthStub(channel)
    return (await stub.Check(HealthCheckRequest())).status


def are_refused(answers: Sequence[Any]) -> None:
    for answer in answers:
        with refused(StatusCode.UNAVAILABLE, "LOCK_TIMEOUT"):
            raise answer


async def test_a_locked_worker_keeps_its_leases_and_blocks_no_other(
    db_url: str, channel: aio.Channel, tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    """Its hellos, heartbeats and DrainWorker used to block all other workers."""
    await submitted(tasks, account)
    (lease,) = await worker.take()
    with locked_rows(db_url, "workers", "worker_id = 'w1'"):
        async with ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2")) as other:
            for _ in range(3):
                assert not (await worker.heartbeat(0)).not_renewed_leases
            calls = [ScriptedWorker(channel, hello(session_number=2)).__aenter__() for _ in range(8)]
            hellos = asyncio.gather(*calls, return_exceptions=True)
            await submitted(tasks, account)
            (second,) = await other.take()
            assert await other.complete(second) == COMMITTED
            assert await status(tasks, lease.task.task_id) == task_pb2.TASK_STATUS_SUBMITTED
            assert await health(channel) == HealthCheckResponse.SERVING
            are_refused(await hellos)
    assert await worker.complete(lease) == COMMITTED
    async with ScriptedWorker(channel, hello(session_number=3)):
        pass


async def test_a_locked_lease_is_neither_renewed_nor_lost_and_others_are_renewed(
    db_url: str, engine: sa.Engine, channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    """Both are of one worker, whose heartbeats and hellos are answered."""
    await batch(tasks, account, 2)
    async with ScriptedWorker(channel, hello(accepts_skipped_leases=True)) as worker:
        locked, other = await worker.take_all(2)
        sql(engine, "UPDATE leases SET expire_time = now() + interval '4 s'")
        with locked_rows(db_url, "leases", "task_key = :key", key=parse_task_id(locked.task.task_id)):
            acknowledged = await worker.heartbeat(0)
            assert list(acknowledged.skipped_leases) == [locked.lease_id]
            assert not acknowledged.not_renewed_leases
            names = [worker_pb.HeldLease(lease_id=lease.lease_id, attempt=1) for lease in (locked, other)]
            again = hello(session_number=2, accepts_skipped_leases=True, held_leases=names)
            async with ScriptedWorker(channel, again) as successor:
                assert sorted(successor.welcome.keep_leases) == sorted(worker.held)
                assert await successor.complete(other) == COMMITTED
                successor.held = {locked.lease_id: locked}
                assert list((await successor.heartbeat(0)).skipped_leases) == [locked.lease_id]
        third = hello(session_number=3, accepts_skipped_leases=True, held_leases=names[:1])
        async with ScriptedWorker(channel, third) as successor:
            assert list(successor.welcome.keep_leases) == [locked.lease_id]
            assert await successor.complete(locked) == COMMITTED


async def test_the_loss_of_a_locked_lease_has_to_be_reported_again(
    db_url: str, engine: sa.Engine, channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    """If its worker removed the mark now, the lease would be released, and the loss not counted."""
    await submitted(tasks, account)
    async with ScriptedWorker(channel) as worker:
        await worker.heartbeat(1)
        (lost,) = await worker.assigned()
    names = [lost.lease_id]
    with locked_rows(db_url, "leases", "task_key = :key", key=parse_task_id(lost.task.task_id)):
        async with ScriptedWorker(channel, hello(session_number=2, lost_leases=[*names, "another's"])) as successor:
            assert list(successor.welcome.skipped_leases) == names
    async with ScriptedWorker(channel, hello(session_number=3, lost_leases=names)) as successor:
        assert not successor.welcome.skipped_leases
    messages = sql(engine, "SELECT message FROM task_events WHERE reason = 'WORKER_LOST'")
    assert messages == [("its worker ended while its CLI ran",)]


@pytest.mark.usefixtures("replica")
@pytest.mark.parametrize("replica_settings", [5.0], indirect=True)
async def test_cancels_of_a_locked_task_block_no_reader(db_url: str, tasks: TaskServiceAsyncStub, account: int) -> None:
    """The reader is answered while all of them still wait."""
    locked, other = await batch(tasks, account, 2)
    request = pb.CancelTaskRequest(task_id=locked)
    with locked_rows(db_url, "ready", "task_key = :key", key=parse_task_id(locked)):
        cancels = [asyncio.ensure_future(tasks.CancelTask(request)) for _ in range(12)]
        assert await status(tasks, other) == task_pb2.TASK_STATUS_PENDING
        assert not any(cancel.done() for cancel in cancels)
        are_refused(await asyncio.gather(*cancels, return_exceptions=True))
    assert (await tasks.CancelTask(request)).task.status == task_pb2.TASK_STATUS_CANCELLED


async def test_a_locked_account_waits_and_others_are_served(
    db_url: str, channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    """A lock of the reaper's row blocks nobody."""
    with locked_rows(db_url, "reaper"):
        await submitted(tasks, account)
        async with ScriptedWorker(channel) as worker:
            (lease,) = await worker.take()
            assert await worker.complete(lease) == COMMITTED
        assert await health(channel) == HealthCheckResponse.SERVING
    other = await new_account(channel)
    with locked_rows(db_url, "shares", "account_id = :id", id=account):
        waiting = asyncio.create_task(submitted(tasks, account))
        for _ in range(5):
            await submitted(tasks, other)
        assert not waiting.done()
        assert await health(channel) == HealthCheckResponse.SERVING
    assert await waiting


async def test_the_result_of_a_locked_task_waits_and_others_are_stored(
    db_url: str, tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    await batch(tasks, account, 2)
    locked, other = await worker.take_all(2)
    with locked_rows(db_url, "tasks", "task_key = :key", key=parse_task_id(locked.task.task_id)):
        completed = worker_pb.Completed(result=worker_pb.Result(body="an article"))
        await worker.send_report(worker_pb.LeaseUpdate(lease_id=locked.lease_id, attempt=1, completed=completed))
        assert await worker.complete(other) == COMMITTED
        assert not (await worker.heartbeat(0)).not_renewed_leases
        assert await status(tasks, locked.task.task_id) == task_pb2.TASK_STATUS_SUBMITTED
    answer = (await worker.read("acknowledgement")).acknowledgement
    assert [result.outcome for result in answer.results] == [COMMITTED]
    assert await status(tasks, locked.task.task_id) == task_pb2.TASK_STATUS_COMPLETED


async def test_a_locked_table_fails_health_and_the_log_names_the_holder(
    db_url: str, replica: Replica, channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    with capture_logs() as logs:
        with locked_table(db_url, "tasks") as pid:
            waiting = asyncio.create_task(submitted(tasks, account))
            await wait_until_async(
                lambda: not replica.health.serving, within=HEARTBEAT_S + PATIENCE_S, what="the replica stops serving"
            )
            assert await health(channel) == HealthCheckResponse.NOT_SERVING
            await wait_until_async(lambda: logged(logs, "lock"), within=PATIENCE_S, what="the log names the holder")
            with refused(StatusCode.UNAVAILABLE, "LOCK_TIMEOUT"):
                await tasks.ListTasks(pb.ListTasksRequest())
        assert await waiting
        await wait_until_async(lambda: replica.health.serving, within=PATIENCE_S, what="it serves again")
    assert logged(logs, "stall")[0]["lane"] == "submits"
    holder = logged(logs, "lock")[0]
    assert (holder["pid"], holder["application"], holder["relation"]) == (pid, APPLICATION, "tasks")


def logged(logs: Sequence[Any], action: str) -> list[Any]:
    return [log for log in logs if log.get("action") == action]
