"""What the CLI printed in each attempt: kept with the attempt's end, bounded, and deleted with the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.worker_service_pb2 import RunOutput
from tests.harness.scripted_worker import ScriptedWorker

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = pytest.mark.usefixtures("shared")

MAX_CHARACTERS = 8_192
MAX_ATTEMPTS = 20
COMMITTED, LEASE_LOST = worker_pb.UPDATE_OUTCOME_COMMITTED, worker_pb.UPDATE_OUTCOME_LEASE_LOST
RELEASED: dict[str, Any] = {"released": worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING)}


async def submitted(tasks: TaskServiceAsyncStub, account: int, **fields: Any) -> str:
    request = pb.SubmitTaskRequest(account_id=account, topic="a topic", **fields)
    return (await tasks.SubmitTask(request)).task.task_id


async def logs_of(tasks: TaskServiceAsyncStub, task_id: str, **page: Any) -> pb.ListAttemptLogsResponse:
    return await tasks.ListAttemptLogs(pb.ListAttemptLogsRequest(task_id=task_id, **page))


async def test_each_attempt_s_output_is_listed_oldest_first(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account, initial_backoff=Duration(nanos=100_000_000))
    (lease,) = await worker.take()
    await worker.fail(lease, output=RunOutput(stdout="half of it", stderr="it failed", stdout_truncated=True))
    (lease,) = await worker.take()
    assert not (await logs_of(tasks, task_id)).logs[1:], "an attempt that runs has no log yet"
    completed = worker_pb.Completed(result=worker_pb.Result(body="an article"))
    output = RunOutput(stderr="it went well", stderr_truncated=True)
    assert await worker.report(lease, completed=completed, output=output) == COMMITTED
    first, second = (await logs_of(tasks, task_id)).logs
    events = (await tasks.ListTaskEvents(pb.ListTaskEventsRequest(task_id=task_id))).events
    ends = {event.attempt: event.event_time for event in events if event.reason in {"CREATOR_ERROR", "COMPLETED"}}
    assert first == task_pb2.AttemptLog(
        attempt=1,
        worker_id=worker.hello.worker_id,
        end_time=ends[1],
        stdout="half of it",
        stderr="it failed",
        stdout_truncated=True,
    )
    assert second == task_pb2.AttemptLog(
        attempt=2, worker_id=worker.hello.worker_id, end_time=ends[2], stderr="it went well", stderr_truncated=True
    )


async def test_logs_are_paged(tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int) -> None:
    task_id = await submitted(tasks, account)
    for n in range(3):
        (lease,) = await worker.take()
        await worker.report(lease, **RELEASED, output=RunOutput(stdout=f"{n}"))
    page = await logs_of(tasks, task_id, page_size=2)
    rest = await logs_of(tasks, task_id, page_size=2, page_token=page.next_page_token)
    assert [log.stdout for log in (*page.logs, *rest.logs)] == ["0", "1", "2"]
    assert (len(page.logs), rest.next_page_token) == (2, "")


@pytest.mark.parametrize("character", ["x", "文", "😀"])
async def test_the_end_of_a_long_output_is_kept(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, character: str
) -> None:
    task_id = await submitted(tasks, account)
    (lease,) = await worker.take()
    long = RunOutput(stdout="begin" + character * (MAX_CHARACTERS - 3) + "end", stderr=character * MAX_CHARACTERS)
    assert await worker.fail(lease, output=long) == COMMITTED
    (log,) = (await logs_of(tasks, task_id)).logs
    assert (len(log.stdout), log.stdout[-4:], log.stdout_truncated) == (MAX_CHARACTERS, f"{character}end", True)
    assert (log.stderr, log.stderr_truncated) == (character * MAX_CHARACTERS, False)


async def test_a_nul_is_removed(tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int) -> None:
    task_id = await submitted(tasks, account)
    (lease,) = await worker.take()
    assert await worker.fail(lease, output=RunOutput(stdout="\0", stderr="a\0b")) == COMMITTED
    (log,) = (await logs_of(tasks, task_id)).logs
    assert (log.stdout, log.stderr) == ("", "ab")


@pytest.mark.parametrize("output", [RunOutput(), RunOutput(stdout="\0", stdout_truncated=True)])
async def test_an_attempt_without_output_is_missing(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, output: RunOutput
) -> None:
    task_id = await submitted(tasks, account)
    (lease,) = await worker.take()
    assert await worker.fail(lease, output=output) == COMMITTED
    assert not (await logs_of(tasks, task_id)).logs


async def test_output_of_an_update_that_ends_nothing_is_ignored(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account)
    (lease,) = await worker.take()
    await worker.report(lease, processing=worker_pb.Processing(), output=RunOutput(stdout="early"))
    await worker.fail(lease)
    assert not (await logs_of(tasks, task_id)).logs


async def test_the_newest_attempts_are_kept(tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int) -> None:
    task_id = await submitted(tasks, account)
    for n in range(1, MAX_ATTEMPTS + 4):
        (lease,) = await worker.take()
        await worker.report(lease, **RELEASED, output=RunOutput(stdout=f"{n}"))
    logs = (await logs_of(tasks, task_id)).logs
    assert [(log.attempt, log.stdout) for log in logs] == [(n, f"{n}") for n in range(4, MAX_ATTEMPTS + 4)]


async def test_output_of_a_revoked_lease_is_kept(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account)
    (lease,) = await worker.take()
    await worker.start(lease)
    await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id, force=True))
    released = worker_pb.Released(reason=worker_pb.RELEASE_REASON_EXPIRED, started=True)
    output = RunOutput(stderr="stopped by a signal")
    assert await worker.report(lease, released=released, output=output) == LEASE_LOST
    (log,) = (await logs_of(tasks, task_id)).logs
    assert (log.attempt, log.worker_id, log.stderr) == (1, worker.hello.worker_id, "stopped by a signal")


async def test_a_report_that_comes_twice_is_stored_once(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account, auto_retry=False)
    (lease,) = await worker.take()
    await worker.fail(lease, output=RunOutput(stdout="first"))
    again = await worker.fail(lease, output=RunOutput(stdout="second"))
    assert again == worker_pb.UPDATE_OUTCOME_ALREADY_COMMITTED
    assert [log.stdout for log in (await logs_of(tasks, task_id)).logs] == ["first"]


async def test_logs_are_deleted_with_their_task(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, engine: sa.Engine
) -> None:
    await submitted(tasks, account, auto_retry=False)
    (lease,) = await worker.take()
    await worker.fail(lease, output=RunOutput(stdout="something"))
    assert _rows(engine) == 1
    assert (await tasks.CleanupTasks(pb.CleanupTasksRequest(days=0))).deleted_count == 1
    assert _rows(engine) == 0


def _rows(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM attempt_logs")).scalar_one())
