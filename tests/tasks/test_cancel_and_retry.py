"""What moves a task over gRPC, and what its attempts have printed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode, aio

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.worker_service_pb2 import RunOutput
from scheduler_svc.replica.replica import Replica
from tests.harness.client import refused
from tests.harness.replicas import serving_beside
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


# TaskService over a real server on a real database: RPCs that move tasks, with a scripted worker if needed.


PATIENCE_S = 10


async def submitted(tasks: TaskServiceAsyncStub, account: int, **fields: object) -> str:
    request = pb.SubmitTaskRequest(**{"account_id": account, "topic": "a topic", **fields})  # type: ignore[arg-type]
    return (await tasks.SubmitTask(request)).task.task_id


async def get(tasks: TaskServiceAsyncStub, task_id: str) -> task_pb2.Task:
    return (await tasks.GetTask(pb.GetTaskRequest(task_id=task_id))).task


async def history(tasks: TaskServiceAsyncStub, task_id: str) -> list[tuple[int, int]]:
    events = (await tasks.ListTaskEvents(pb.ListTaskEventsRequest(task_id=task_id, page_size=1_000))).events
    return [(event.previous_status, event.status) for event in events]


async def running(worker: ScriptedWorker) -> worker_pb.AssignedLease:
    (lease,) = await worker.take()
    await worker.start(lease)
    return lease


UNSPECIFIED, PENDING, SUBMITTED, PROCESSING, COMPLETED, FAILED, TIMEOUT, CANCELLED = range(8)


async def test_a_task_that_no_worker_takes_by_its_expire_time_is_cancelled(
    tasks: TaskServiceAsyncStub, account: int
) -> None:
    near = Timestamp()
    near.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    task_id = await submitted(tasks, account, expire_time=near)
    wait = pb.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=PATIENCE_S))
    ended = (await tasks.WaitTask(wait)).task
    assert (ended.status, ended.error.reason, ended.expire_time) == (CANCELLED, "EXPIRED", near)
    assert await history(tasks, task_id) == [(UNSPECIFIED, PENDING), (PENDING, CANCELLED)]
    with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE"):
        await tasks.RetryTask(pb.RetryTaskRequest(task_id=task_id))
    stats = await tasks.GetTaskStats(pb.GetTaskStatsRequest(account_id=account))
    assert (stats.counts["pending"], stats.counts["cancelled"], stats.queue_depth) == (0, 1, 0)


async def test_a_pending_task_is_cancelled(tasks: TaskServiceAsyncStub, account: int) -> None:
    task_id = await submitted(tasks, account)
    cancelled = (await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))).task
    assert cancelled.status == CANCELLED
    assert cancelled.HasField("end_time")
    assert await get(tasks, task_id) == cancelled
    assert await history(tasks, task_id) == [(UNSPECIFIED, PENDING), (PENDING, CANCELLED)]
    for force in (False, True):
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id, force=force))
        assert refusal.metadata["current_state"] == "cancelled"
        assert refusal.metadata["required_state"].startswith("pending")
        assert refusal.preconditions == ["INVALID_STATE"]


async def test_a_running_task_is_cancelled_by_force_only(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account)
    lease = await running(worker)
    with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
        await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))
    assert refusal.metadata == {"current_state": "processing", "required_state": "pending"}
    cancelled = (await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id, force=True))).task
    assert cancelled.status == CANCELLED
    assert cancelled.error.reason == "CANCELLED_BY_CLIENT"
    cancel = (await worker.read("cancel")).cancel
    assert (cancel.lease_id, cancel.reason) == (lease.lease_id, "CANCELLED_BY_CLIENT")
    assert await worker.complete(lease) == worker_pb.UPDATE_OUTCOME_LEASE_LOST
    assert await get(tasks, task_id) == cancelled


async def test_a_task_completes_with_its_whole_history(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account)
    lease = await running(worker)
    progress = task_pb2.TaskProgress(percent=40, step="draft", message="half of it")
    assert await worker.report(lease, progress=progress) == worker_pb.UPDATE_OUTCOME_COMMITTED
    task = await get(tasks, task_id)
    assert (task.status, task.attempt, task.worker_id, task.lease_id) == (PROCESSING, 1, "w1", lease.lease_id)
    assert task.progress == progress
    assert task.start_time.ToMicroseconds() >= task.submit_time.ToMicroseconds() >= task.create_time.ToMicroseconds()
    assert task.timeout_time.ToSeconds() > task.start_time.ToSeconds()
    assert await worker.complete(lease) == worker_pb.UPDATE_OUTCOME_COMMITTED
    done = await get(tasks, task_id)
    assert (done.status, done.lease_id) == (COMPLETED, "")
    assert done.content_id >= 1
    assert done.HasField("end_time")
    assert await history(tasks, task_id) == [
        (UNSPECIFIED, PENDING),
        (PENDING, SUBMITTED),
        (SUBMITTED, PROCESSING),
        (PROCESSING, COMPLETED),
    ]


async def test_a_history_comes_in_pages_oldest_first(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account)
    lease = await running(worker)
    await worker.complete(lease)
    first = await tasks.ListTaskEvents(pb.ListTaskEventsRequest(task_id=task_id, page_size=3))
    rest = await tasks.ListTaskEvents(
        pb.ListTaskEventsRequest(task_id=task_id, page_size=3, page_token=first.next_page_token)
    )
    assert [event.status for event in (*first.events, *rest.events)] == [PENDING, SUBMITTED, PROCESSING, COMPLETED]
    assert not rest.next_page_token
    leased = first.events[1]
    assert (leased.attempt, leased.worker_id, leased.lease_id) == (1, "w1", lease.lease_id)
    assert leased.reason
    other = await submitted(tasks, account)
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.ListTaskEvents(pb.ListTaskEventsRequest(task_id=other, page_token=first.next_page_token))
    assert refusal.fields == ["page_token"]


async def test_retry_task_ends_the_wait_for_an_automatic_retry(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account)
    await worker.fail(await running(worker))
    waiting = await get(tasks, task_id)
    assert (waiting.status, waiting.retry_count, waiting.error.reason) == (PENDING, 1, "CREATOR_ERROR")
    assert not waiting.HasField("end_time")
    assert (await history(tasks, task_id))[-2:] == [(PROCESSING, FAILED), (FAILED, PENDING)]
    retried = (await tasks.RetryTask(pb.RetryTaskRequest(task_id=task_id))).task
    assert (retried.status, retried.retry_count) == (PENDING, 1)
    (lease,) = await worker.take()
    assert lease.attempt == 2


async def test_retry_task_consumes_one_of_max_retries(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_id = await submitted(tasks, account, auto_retry=False, max_retries=1)
    with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
        await tasks.RetryTask(pb.RetryTaskRequest(task_id=task_id))
    assert refusal.metadata == {"current_state": "pending", "required_state": "failed,timeout"}
    await worker.fail(await running(worker))
    failed = await get(tasks, task_id)
    assert (failed.status, failed.retry_count) == (FAILED, 0)
    assert failed.HasField("end_time")
    retried = (await tasks.RetryTask(pb.RetryTaskRequest(task_id=task_id))).task
    assert (retried.status, retried.retry_count, retried.HasField("end_time")) == (PENDING, 1, False)
    await worker.fail(await running(worker))
    with refused(StatusCode.FAILED_PRECONDITION, "RETRIES_EXHAUSTED") as refusal:
        await tasks.RetryTask(pb.RetryTaskRequest(task_id=task_id))
    assert refusal.preconditions == ["RETRIES_EXHAUSTED"]
    reset = (await tasks.RetryTask(pb.RetryTaskRequest(task_id=task_id, reset_retry_count=True))).task
    assert reset.status == PENDING


async def test_a_wait_ends_at_its_timeout(tasks: TaskServiceAsyncStub, account: int) -> None:
    task_id = await submitted(tasks, account)
    task = (await tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=Duration()))).task
    assert task.status == PENDING
    assert not task.HasField("end_time")


async def test_a_wait_ends_with_the_task(tasks: TaskServiceAsyncStub, account: int) -> None:
    task_id = await submitted(tasks, account)
    forever = Duration(seconds=315_576_000_000)
    wait = asyncio.ensure_future(tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=forever)))
    cancelled = (await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))).task
    async with asyncio.timeout(PATIENCE_S):
        assert (await wait).task == cancelled
    assert (await tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=forever))).task == cancelled


@pytest.mark.parametrize("bad", [Duration(seconds=-1), Duration(nanos=-1), Duration(seconds=315_576_000_001)])
async def test_a_bad_wait_is_refused_with_every_bad_field(tasks: TaskServiceAsyncStub, bad: Duration) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.WaitTask(pb.WaitTaskRequest(timeout=bad))
    assert refusal.fields == ["task_id", "timeout"]


async def test_a_wait_ends_at_its_calls_deadline(tasks: TaskServiceAsyncStub, account: int) -> None:
    task_id = await submitted(tasks, account)
    with refused(StatusCode.DEADLINE_EXCEEDED):
        await tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id), timeout=0.2)


async def test_handle_timeouts_ends_overdue_tasks_at_once(
    replica: Replica, tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, engine: sa.Engine
) -> None:
    await replica._reaper.stop()  # it might be quicker
    task_id = await submitted(tasks, account, auto_retry=False)
    lease = await running(worker)
    assert (await tasks.HandleTimeouts(pb.HandleTimeoutsRequest())).timeout_count == 0
    settle = """UPDATE reaper SET stamp = now(), expire_not_before = now();
        UPDATE leases SET accept_time = now() - interval '1 h'"""
    with engine.begin() as connection:
        connection.execute(sa.text(settle))
    assert (await tasks.HandleTimeouts(pb.HandleTimeoutsRequest(account_id=account + 1))).timeout_count == 0
    assert (await tasks.HandleTimeouts(pb.HandleTimeoutsRequest(account_id=account))).timeout_count == 1
    cancel = (await worker.read("cancel")).cancel
    assert (cancel.lease_id, cancel.reason) == (lease.lease_id, "TASK_TIMEOUT")
    assert (await get(tasks, task_id)).status == TIMEOUT
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.HandleTimeouts(pb.HandleTimeoutsRequest(account_id=-1))
    assert refusal.fields == ["account_id"]


async def test_bulk_cancel_cancels_what_matches(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    tea = {"about": "tea"}
    runs = await submitted(tasks, account, topic="绿茶 Tea", labels=tea, priority=10)
    lease = await running(worker)
    task_ids = [await submitted(tasks, account, topic="绿茶 Tea", labels=tea, priority=1) for _ in range(3)]
    other = await submitted(tasks, account, topic="coffee", labels=tea, priority=1)
    wanted = pb.TaskFilter(account_id=account, labels=tea, topic="TEA")
    counted = await tasks.BulkCancelTasks(pb.BulkCancelTasksRequest(filter=wanted, dry_run=True, limit=1))
    assert counted == pb.BulkCancelTasksResponse(matched_count=3)
    first = await tasks.BulkCancelTasks(pb.BulkCancelTasksRequest(filter=wanted, limit=1))
    assert first == pb.BulkCancelTasksResponse(matched_count=1, changed_count=1)
    assert [(await get(tasks, task_id)).status for task_id in task_ids] == [CANCELLED, PENDING, PENDING]
    wanted.topic = "绿茶"
    rest = await tasks.BulkCancelTasks(pb.BulkCancelTasksRequest(filter=wanted, force=True))
    assert rest == pb.BulkCancelTasksResponse(matched_count=3, changed_count=3)
    cancel = (await worker.read("cancel")).cancel
    assert (cancel.lease_id, cancel.reason) == (lease.lease_id, "CANCELLED_BY_CLIENT")
    assert (await get(tasks, runs)).error.reason == "CANCELLED_BY_CLIENT"
    assert (await get(tasks, other)).status == PENDING


async def test_a_list_takes_its_filter_both_ways(tasks: TaskServiceAsyncStub, account: int) -> None:
    """The old fields and those of `filter`, which must be equal if both are set; page tokens fit either."""
    task_ids = [await submitted(tasks, account, labels={"a": "b"}) for _ in range(3)][::-1]
    flat: dict[str, Any] = {"account_id": account, "statuses": [PENDING], "labels": {"a": "b"}}
    wanted = pb.TaskFilter(**flat)
    first = await tasks.ListTasks(pb.ListTasksRequest(**flat, page_size=1))
    for request in (
        pb.ListTasksRequest(filter=wanted, page_token=first.next_page_token),
        pb.ListTasksRequest(**flat, filter=wanted, page_token=first.next_page_token),
    ):
        assert [task.task_id for task in (await tasks.ListTasks(request)).tasks] == task_ids[1:]
    for further in (pb.TaskFilter(topic="a topic"), pb.TaskFilter(created_after=Timestamp(seconds=1))):
        again = pb.ListTasksRequest(**flat, filter=further)
        assert [task.task_id for task in (await tasks.ListTasks(again)).tasks] == task_ids
        again.page_token = first.next_page_token
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await tasks.ListTasks(again)
        assert refusal.fields == ["page_token"]


async def test_bulk_retry_retries_all_failed_tasks(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task_ids = [await submitted(tasks, account, auto_retry=False) for _ in range(2)]
    for _ in task_ids:
        await worker.fail(await running(worker))
    assert {(await get(tasks, task_id)).status for task_id in task_ids} == {FAILED}
    for spares in (
        pb.BulkRetryTasksRequest(account_id=account + 1),
        pb.BulkRetryTasksRequest(statuses=[task_pb2.TASK_STATUS_TIMEOUT]),
    ):
        assert (await tasks.BulkRetryTasks(spares)).retried_count == 0
    assert (await tasks.BulkRetryTasks(pb.BulkRetryTasksRequest(account_id=account, limit=1))).retried_count == 1
    assert (await tasks.BulkRetryTasks(pb.BulkRetryTasksRequest())).retried_count == 1
    assert {(await running(worker)).attempt for _ in task_ids} == {2}


async def test_a_bad_bulk_retry_is_refused_with_every_bad_field(tasks: TaskServiceAsyncStub) -> None:
    statuses = [FAILED, UNSPECIFIED, PENDING, 99, TIMEOUT, COMPLETED]
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BulkRetryTasks(
            pb.BulkRetryTasksRequest(account_id=-1, statuses=statuses, limit=-1)  # type: ignore[arg-type]
        )
    assert sorted(refusal.fields) == ["account_id", "limit", *(f"statuses[{i}]" for i in (1, 2, 3, 5))]


async def test_ended_tasks_are_cleaned_up_and_their_contents_stay(
    tasks: TaskServiceAsyncStub, contents: ContentServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    waiting = await submitted(tasks, account, priority=1)
    task_id = await submitted(tasks, account, request_id="r")
    await worker.complete(await running(worker))
    done = await get(tasks, task_id)
    for spares in (
        pb.CleanupTasksRequest(),
        pb.CleanupTasksRequest(days=2**31 - 1),
        pb.CleanupTasksRequest(days=0, account_id=account + 1),
    ):
        assert (await tasks.CleanupTasks(spares)).deleted_count == 0
    for dry_run in (True, False):
        request = pb.CleanupTasksRequest(days=0, account_id=account, dry_run=dry_run)
        assert (await tasks.CleanupTasks(request)).deleted_count == 1
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await get(tasks, task_id)
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await history(tasks, task_id)
    assert [task.task_id for task in (await tasks.ListTasks(pb.ListTasksRequest())).tasks] == [waiting]
    stats = await tasks.GetTaskStats(pb.GetTaskStatsRequest(account_id=account))
    assert {status: n for status, n in stats.counts.items() if n} == {"pending": 1}
    content = await contents.GetContent(content_pb.GetContentRequest(content_id=done.content_id))
    assert content.content.task_id == task_id
    again = await tasks.SubmitTask(pb.SubmitTaskRequest(account_id=account, topic="a topic", request_id="r"))
    assert again.task == done


async def test_a_bad_cleanup_is_refused_with_every_bad_field(tasks: TaskServiceAsyncStub) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.CleanupTasks(pb.CleanupTasksRequest(account_id=-1, days=-1))
    assert refusal.fields == ["account_id", "days"]


async def is_missing(tasks: TaskServiceAsyncStub, task_id: str) -> bool:
    answer = await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=[task_id]))
    return list(answer.missing_task_ids) == [task_id]


@pytest.mark.usefixtures("replica")
async def test_a_replica_with_a_retention_cleans_up_by_itself(db_url: str) -> None:
    async with (
        serving_beside(db_url, retention=1) as replica,
        aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel,
    ):
        answer = await AccountServiceStub(channel).CreateAccount(account_pb.CreateAccountRequest(name="an account"))
        tasks: TaskServiceAsyncStub = TaskServiceStub(channel)
        task_id = await submitted(tasks, answer.account.account_id)
        await tasks.CancelTask(pb.CancelTaskRequest(task_id=task_id))

        missing: Callable[[], bool | Awaitable[bool]] = partial(is_missing, tasks, task_id)
        await wait_until_async(missing, within=PATIENCE_S, what="the task is cleaned up")


# What the CLI printed in each attempt: kept with the attempt's end, bounded, and deleted with the task.


MAX_CHARACTERS = 8_192
MAX_ATTEMPTS = 20
COMMITTED, LEASE_LOST = worker_pb.UPDATE_OUTCOME_COMMITTED, worker_pb.UPDATE_OUTCOME_LEASE_LOST
RELEASED: dict[str, Any] = {"released": worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING)}


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
