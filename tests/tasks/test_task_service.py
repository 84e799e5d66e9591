"""TaskService over a real server: submits, reads and moves of tasks, and what their attempts have printed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.worker_service_pb2 import RunOutput
from scheduler_svc.replica.replica import Replica
from tests.api.cases import (
    NO_TASK,
    NOTHING,
    OTHER_PAGE,
    OWN,
    WAITS,
    Bad,
    Good,
    The,
    a_task_id,
    an_opaque_token,
    missing,
    of,
    wrong_state,
)
from tests.harness.client import bad_fields, pages_of, refused
from tests.harness.maker import TaskClient, new_account
from tests.harness.replicas import channel_to, serving_beside
from tests.harness.scheduling import sql
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


UNSPECIFIED, PENDING, SUBMITTED, PROCESSING, COMPLETED, FAILED, TIMEOUT, CANCELLED = range(8)
MISSING = "task-0123456789abcdef"
UNLIKE_AN_ID = "no id at all"


async def test_an_answer_says_which_tasks_were_there_before(client: TaskClient) -> None:
    for fields in ({"request_id": "r"}, {"unique_key": "u"}):
        first = await client.stub.SubmitTask(client.request(**fields))
        second = await client.stub.SubmitTask(client.request(**fields))
        assert (first.existing, second.existing) == (False, True)
        assert first.task == second.task
    batch = [{}, {"unique_key": "u"}, {"unique_key": "v"}, {"request_id": "r"}, {"unique_key": "v"}]
    request = pb.BatchSubmitTasksRequest(requests=[client.request(**fields) for fields in batch])
    answer = await client.stub.BatchSubmitTasks(request)
    assert list(answer.existing_indexes) == [1, 3, 4]
    assert answer.tasks[2] == answer.tasks[4]


async def test_a_batch_is_stored_in_order_and_answered_without_requirements(client: TaskClient) -> None:
    requests = [client.request(f"topic {i}", requirements="long", priority=1 + i % 10) for i in range(1_000)]
    answer = (await client.batch(requests)).tasks
    assert [(task.topic, task.priority) for task in answer] == [
        (request.topic, request.priority) for request in requests
    ]
    assert {task.requirements for task in answer} == {""}
    assert len({task.task_id for task in answer}) == 1_000
    assert (await client.get(answer[0].task_id)).requirements == "long"


async def test_a_request_id_for_two_payloads_of_a_batch_is_invalid(client: TaskClient) -> None:
    requests = [client.request(topic, request_id="once") for topic in ("a topic", "another", "a topic")]
    with bad_fields("requests[1].request_id"):
        await client.batch(requests)
    assert not (await client.stub.ListTasks(pb.ListTasksRequest())).tasks
    answer = await client.batch(requests[::2])
    assert len({task.task_id for task in answer.tasks}) == 1


async def test_a_batch_whose_answer_would_be_too_large_is_refused(client: TaskClient) -> None:
    large = pb.BatchSubmitTasksRequest(requests=[client.request("x" * 4_000)] * 1_000)
    assert large.ByteSize() < 4 << 20
    with bad_fields("requests"):
        await client.stub.BatchSubmitTasks(large)
    requirements = pb.BatchSubmitTasksRequest(requests=[client.request(requirements="x" * 18_000)] * 230)
    assert requirements.ByteSize() > 4_000_000
    assert len((await client.stub.BatchSubmitTasks(requirements)).tasks) == 230


async def test_many_tasks_are_read_at_once(client: TaskClient) -> None:
    first, second = await client.submit(requirements="long"), await client.submit()
    task_ids = [second.task_id, MISSING, first.task_id, UNLIKE_AN_ID, second.task_id, MISSING]
    answer = await client.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids))
    assert list(answer.tasks) == [second, first]
    assert list(answer.missing_task_ids) == [MISSING, UNLIKE_AN_ID]


async def test_batches_of_more_than_3_mib_have_to_be_read_in_parts(client: TaskClient) -> None:
    batch = pb.BatchSubmitTasksRequest(requests=[client.request(requirements="x" * 18_000)] * 200)
    task_ids = [task.task_id for task in (await client.stub.BatchSubmitTasks(batch)).tasks]
    with bad_fields("task_ids"):
        await client.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids))
    assert len((await client.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids[:100]))).tasks) == 100


# What moves a task.


async def test_a_task_that_no_worker_takes_by_its_expire_time_is_cancelled(client: TaskClient) -> None:
    near = Timestamp()
    near.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    task_id = (await client.submit(expire_time=near)).task_id
    wait = pb.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=PATIENCE_S))
    ended = (await client.stub.WaitTask(wait)).task
    assert (ended.status, ended.error.reason, ended.expire_time) == (CANCELLED, "EXPIRED", near)
    assert await client.history(task_id) == [(UNSPECIFIED, PENDING), (PENDING, CANCELLED)]
    with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE"):
        await client.retry(task_id)
    stats = await client.stats()
    assert (stats.counts["pending"], stats.counts["cancelled"], stats.queue_depth) == (0, 1, 0)


async def test_a_task_completes_with_its_whole_history(client: TaskClient, worker: ScriptedWorker) -> None:
    task_id = (await client.submit()).task_id
    lease = await worker.run()
    progress = task_pb2.TaskProgress(percent=40, step="draft", message="half of it")
    assert await worker.report(lease, progress=progress) == worker_pb.UPDATE_OUTCOME_COMMITTED
    task = await client.get(task_id)
    assert (task.status, task.attempt, task.worker_id, task.lease_id) == (PROCESSING, 1, "w1", lease.lease_id)
    assert task.progress == progress
    assert task.start_time.ToMicroseconds() >= task.submit_time.ToMicroseconds() >= task.create_time.ToMicroseconds()
    assert task.timeout_time.ToSeconds() > task.start_time.ToSeconds()
    assert await worker.complete(lease) == worker_pb.UPDATE_OUTCOME_COMMITTED
    done = await client.get(task_id)
    assert (done.status, done.lease_id) == (COMPLETED, "")
    assert done.content_id >= 1
    assert done.HasField("end_time")
    statuses = [UNSPECIFIED, PENDING, SUBMITTED, PROCESSING, COMPLETED]
    assert await client.history(task_id) == list(pairwise(statuses))


async def test_a_wait_ends_with_the_task(client: TaskClient) -> None:
    task_id = (await client.submit()).task_id
    forever = Duration(seconds=315_576_000_000)
    wait = asyncio.ensure_future(client.stub.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=forever)))
    cancelled = await client.cancel(task_id)
    async with asyncio.timeout(PATIENCE_S):
        assert (await wait).task == cancelled
    assert (await client.stub.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=forever))).task == cancelled


async def test_a_wait_returns_the_unended_task_at_its_timeout_and_no_sooner(client: TaskClient) -> None:
    task_id = (await client.submit()).task_id
    begin = time.monotonic()
    task = (await client.stub.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=Duration(nanos=300_000_000)))).task
    assert time.monotonic() - begin >= 0.3
    assert task.status == PENDING


async def test_a_wait_ends_at_its_calls_deadline(client: TaskClient) -> None:
    task_id = (await client.submit()).task_id
    with refused(StatusCode.DEADLINE_EXCEEDED):
        await client.stub.WaitTask(pb.WaitTaskRequest(task_id=task_id), timeout=0.2)


async def test_handle_timeouts_ends_overdue_tasks_at_once(
    client: TaskClient, replica: Replica, worker: ScriptedWorker, engine: sa.Engine
) -> None:
    await replica._reaper.stop()  # it might be quicker
    task_id = (await client.submit(auto_retry=False)).task_id
    lease = await worker.run()
    assert (await client.stub.HandleTimeouts(pb.HandleTimeoutsRequest())).timeout_count == 0
    sql(engine, "UPDATE reaper SET stamp = now(), expire_not_before = now()")
    sql(engine, "UPDATE leases SET accept_time = now() - interval '1 h'")
    for account_id, count in ((client.account + 1, 0), (client.account, 1)):
        request = pb.HandleTimeoutsRequest(account_id=account_id)
        assert (await client.stub.HandleTimeouts(request)).timeout_count == count
    cancel = (await worker.read("cancel")).cancel
    assert (cancel.lease_id, cancel.reason) == (lease.lease_id, "TASK_TIMEOUT")
    assert (await client.get(task_id)).status == TIMEOUT


async def test_bulk_cancel_cancels_what_matches(client: TaskClient, worker: ScriptedWorker) -> None:
    tea = {"about": "tea"}
    runs = (await client.submit(topic="绿茶 Tea", labels=tea, priority=10)).task_id
    lease = await worker.run()
    task_ids = [(await client.submit(topic="绿茶 Tea", labels=tea, priority=1)).task_id for _ in range(3)]
    other = (await client.submit(topic="coffee", labels=tea, priority=1)).task_id
    wanted = pb.TaskFilter(account_id=client.account, labels=tea, topic="TEA")
    counted = await client.stub.BulkCancelTasks(pb.BulkCancelTasksRequest(filter=wanted, dry_run=True, limit=1))
    assert counted == pb.BulkCancelTasksResponse(matched_count=3)
    first = await client.stub.BulkCancelTasks(pb.BulkCancelTasksRequest(filter=wanted, limit=1))
    assert first == pb.BulkCancelTasksResponse(matched_count=1, changed_count=1)
    assert [(await client.get(task_id)).status for task_id in task_ids] == [CANCELLED, PENDING, PENDING]
    wanted.topic = "绿茶"
    rest = await client.stub.BulkCancelTasks(pb.BulkCancelTasksRequest(filter=wanted, force=True))
    assert rest == pb.BulkCancelTasksResponse(matched_count=3, changed_count=3)
    cancel = (await worker.read("cancel")).cancel
    assert (cancel.lease_id, cancel.reason) == (lease.lease_id, "CANCELLED_BY_CLIENT")
    assert (await client.get(runs)).error.reason == "CANCELLED_BY_CLIENT"
    assert (await client.get(other)).status == PENDING


async def test_a_list_takes_its_filter_both_ways(client: TaskClient) -> None:
    """The old fields and those of `filter`, which must be equal if both are set; page tokens fit either."""
    task_ids = [(await client.submit(labels={"a": "b"})).task_id for _ in range(3)][::-1]
    flat: dict[str, Any] = {"account_id": client.account, "statuses": [PENDING], "labels": {"a": "b"}}
    wanted = pb.TaskFilter(**flat)
    first = await client.stub.ListTasks(pb.ListTasksRequest(**flat, page_size=1))
    for request in (
        pb.ListTasksRequest(filter=wanted, page_token=first.next_page_token),
        pb.ListTasksRequest(**flat, filter=wanted, page_token=first.next_page_token),
    ):
        assert [task.task_id for task in (await client.stub.ListTasks(request)).tasks] == task_ids[1:]
    further = (pb.TaskFilter(topic="a topic"), pb.TaskFilter(created_after=Timestamp(seconds=1)))
    others = [pb.ListTasksRequest(**flat, filter=condition) for condition in further]
    others += [pb.ListTasksRequest(**{name: flat[name] for name in flat if name != missing}) for missing in flat]
    for again in others:
        assert [task.task_id for task in (await client.stub.ListTasks(again)).tasks] == task_ids
        again.page_token = first.next_page_token
        with bad_fields("page_token"):
            await client.stub.ListTasks(again)


@pytest.mark.usefixtures("replica")
async def test_a_replica_with_a_retention_cleans_up_by_itself(db_url: str) -> None:
    async with serving_beside(db_url, retention=1) as replica, channel_to(replica) as channel:
        client = TaskClient(TaskServiceAsyncStub(channel), await new_account(channel))
        task = await client.cancel((await client.submit()).task_id)

        async def is_gone() -> bool:
            answer = await client.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=[task.task_id]))
            return not answer.tasks

        await wait_until_async(is_gone, within=PATIENCE_S, what="the task is cleaned up")


# What the CLI printed in each attempt: kept with the attempt's end, bounded, and deleted with the task.


MAX_ATTEMPTS = 20
COMMITTED, LEASE_LOST = worker_pb.UPDATE_OUTCOME_COMMITTED, worker_pb.UPDATE_OUTCOME_LEASE_LOST
RELEASED: dict[str, Any] = {"released": worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING)}


async def logs_of(client: TaskClient, task_id: str) -> list[task_pb2.AttemptLog]:
    return list((await client.stub.ListAttemptLogs(pb.ListAttemptLogsRequest(task_id=task_id))).logs)


async def test_each_attempt_s_output_is_listed_oldest_first(client: TaskClient, worker: ScriptedWorker) -> None:
    task_id = (await client.submit(initial_backoff=Duration(nanos=100_000_000))).task_id
    (lease,) = await worker.take()
    await worker.fail(lease, output=RunOutput(stdout="half of it", stderr="it failed", stdout_truncated=True))
    (lease,) = await worker.take()
    assert not (await logs_of(client, task_id))[1:], "an attempt that runs has no log yet"
    completed = worker_pb.Completed(result=worker_pb.Result(body="an article"))
    output = RunOutput(stderr="it went well", stderr_truncated=True)
    assert await worker.report(lease, completed=completed, output=output) == COMMITTED
    first, second = await logs_of(client, task_id)
    events = await client.events(task_id)
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


async def test_logs_are_paged(client: TaskClient, worker: ScriptedWorker) -> None:
    task_id = (await client.submit()).task_id
    for n in range(3):
        (lease,) = await worker.take()
        await worker.report(lease, **RELEASED, output=RunOutput(stdout=f"{n}"))
    request = pb.ListAttemptLogsRequest(task_id=task_id, page_size=2)
    pages = await pages_of(client.stub.ListAttemptLogs, request, "logs")
    assert [[log.stdout for log in page] for page in pages] == [["0", "1"], ["2"]]


async def test_output_of_an_update_that_ends_nothing_is_ignored(client: TaskClient, worker: ScriptedWorker) -> None:
    task_id = (await client.submit()).task_id
    (lease,) = await worker.take()
    await worker.report(lease, processing=worker_pb.Processing(), output=RunOutput(stdout="early"))
    await worker.fail(lease)
    assert not await logs_of(client, task_id)


async def test_the_newest_attempts_are_kept(client: TaskClient, worker: ScriptedWorker) -> None:
    task_id = (await client.submit()).task_id
    for n in range(1, MAX_ATTEMPTS + 4):
        (lease,) = await worker.take()
        await worker.report(lease, **RELEASED, output=RunOutput(stdout=f"{n}"))
    logs = await logs_of(client, task_id)
    assert [(log.attempt, log.stdout) for log in logs] == [(n, f"{n}") for n in range(4, MAX_ATTEMPTS + 4)]


async def test_output_of_a_revoked_lease_is_kept(client: TaskClient, worker: ScriptedWorker) -> None:
    task_id = (await client.submit()).task_id
    lease = await worker.run()
    await client.cancel(task_id, force=True)
    released = worker_pb.Released(reason=worker_pb.RELEASE_REASON_EXPIRED, started=True)
    output = RunOutput(stderr="stopped by a signal")
    assert await worker.report(lease, released=released, output=output) == LEASE_LOST
    (log,) = await logs_of(client, task_id)
    assert (log.attempt, log.worker_id, log.stderr) == (1, worker.hello.worker_id, "stopped by a signal")


async def test_a_report_that_comes_twice_is_stored_once(client: TaskClient, worker: ScriptedWorker) -> None:
    task_id = (await client.submit(auto_retry=False)).task_id
    (lease,) = await worker.take()
    await worker.fail(lease, output=RunOutput(stdout="first"))
    again = await worker.fail(lease, output=RunOutput(stdout="second"))
    assert again == worker_pb.UPDATE_OUTCOME_ALREADY_COMMITTED
    assert [log.stdout for log in await logs_of(client, task_id)] == ["first"]


async def test_logs_are_deleted_with_their_task(client: TaskClient, worker: ScriptedWorker, engine: sa.Engine) -> None:
    await client.submit(auto_retry=False)
    (lease,) = await worker.take()
    await worker.fail(lease, output=RunOutput(stdout="something"))
    rows = "SELECT count(*) FROM attempt_logs"
    assert sql(engine, rows) == [(1,)]
    assert (await client.stub.CleanupTasks(pb.CleanupTasksRequest(days=0))).deleted_count == 1
    assert sql(engine, rows) == [(0,)]


# What tests/api calls: requests that are answered, and those that are refused.
ZEROS = dict.fromkeys(["submitted", "processing", "completed", "failed", "timeout", "cancelled"], "0")
ENDED = dict.fromkeys(["completed", "failed", "timeout", "cancelled"], "0")
GOOD = [
    Good(
        "GetTask",
        of(task="backoff"),
        {
            "task": {
                **of(task="backoff"),
                "status": WAITS,
                "pending_reason": "PENDING_REASON_BACKOFF",
                "next_attempt_time": str,
                "retry_count": 1,
                "attempt": 1,
                "error": {"reason": "CREATOR_ERROR"},
            }
        },
    ),
    Good(
        "GetTask",
        of(task="completed"),
        {"task": {"status": "TASK_STATUS_COMPLETED", "end_time": str, "content_id": lambda number: int(number) > 0}},
    ),
    Good(
        "BatchGetTasks",
        {"task_ids": [NO_TASK, The("pending", "task_id"), "no id"]},
        {"tasks": [of(task="pending")], "missing_task_ids": [NO_TASK, "no id"]},
    ),
    Good(
        "ListTasks",
        {**of(account="cancelled"), "statuses": ["TASK_STATUS_CANCELLED"]},
        {"tasks": [{**of(task="cancelled"), "requirements": ""}], "next_page_token": ""},
    ),
    Good(
        "ListTasks",
        {"account_id": OWN, "page_size": 1, **OTHER_PAGE},
        {"tasks": [{"task_id": a_task_id}], "next_page_token": ""},
    ),
    Good(
        "ListTasks",
        {**of(account="failed"), "statuses": ["TASK_STATUS_FAILED"], "order_by": "end_time desc"},
        {"tasks": [of(task="failed")], "next_page_token": ""},
    ),
    Good("ListTasks", {"account_id": NOTHING, "page_size": 2_147_483_647}, {"tasks": [], "next_page_token": ""}),
    Good(
        "ListTasks",
        {
            **of(account="failed"),
            "filter": {
                **of(account="failed"),
                "statuses": ["TASK_STATUS_FAILED"],
                "error_reasons": ["CREATOR_ERROR"],
                "created_after": "0001-01-01T00:00:00Z",
                "created_before": "9999-12-31T23:59:59.999999Z",
            },
        },
        {"tasks": [of(task="failed")], "next_page_token": ""},
    ),
    Good(
        "ListTasks",
        {"filter": {"topic": "no topic has this", "worker_id": "none"}},
        {"tasks": [], "next_page_token": ""},
    ),
    Good("WaitTask", of(task="cancelled"), {"task": {"status": "TASK_STATUS_CANCELLED"}}),
    Good(
        "WaitTask", {**of(task="cancelled"), "timeout": "315576000000s"}, {"task": {"status": "TASK_STATUS_CANCELLED"}}
    ),
    Good(
        "WaitTask",
        {**of(task="scheduled"), "timeout": "0.01s"},
        {"task": {"status": WAITS, "pending_reason": "PENDING_REASON_UNSPECIFIED"}},
    ),
    Good(
        "WatchTasks",
        {"task_ids": [The("scheduled", "task_id"), The("scheduled", "task_id")]},
        {
            "event": {
                "task": {**of(task="scheduled"), "status": WAITS, "requirements": ""},
                "previous_status": "TASK_STATUS_UNSPECIFIED",
                "event_time": str,
                "will_retry": False,
                "resume_token": an_opaque_token,
            }
        },
    ),
    Good("WatchTasks", of(account="scheduled"), {"event": {"task": of(task="scheduled")}}),
    Good(
        "ListTaskEvents",
        of(task="submitted"),
        {
            "events": [
                {"previous_status": "TASK_STATUS_UNSPECIFIED", "status": WAITS, "reason": "SUBMITTED", "attempt": 0},
                {"previous_status": WAITS, "status": "TASK_STATUS_SUBMITTED", "attempt": 1, "event_time": str},
            ],
            "next_page_token": "",
        },
    ),
    Good(
        "ListTaskEvents",
        {**of(task="submitted"), "page_size": 1},
        {"events": [{"status": WAITS}], "next_page_token": an_opaque_token},
    ),
    Good(
        "ListAttemptLogs",
        of(task="logged"),
        {
            "logs": [
                {
                    "attempt": 1,
                    "worker_id": str,
                    "end_time": str,
                    "stdout": "half a page",
                    "stderr": "it failed",
                    "stdout_truncated": True,
                    "stderr_truncated": False,
                }
            ],
            "next_page_token": "",
        },
    ),
    Good(
        "TailAttempt",
        of(task="submitted"),
        {
            "output": "",
            "stderr": False,
            "left_out_bytes": "0",
            "attempt": 1,
            "worker_silent": False,
            "resume_token": an_opaque_token,
        },
    ),
    Good("ListAttemptLogs", of(task="failed"), {"logs": [], "next_page_token": ""}),
    Good(
        "GetTaskStats",
        of(account="pending"),
        {"counts": {"pending": "1", **ZEROS}, "oldest_pending_age": str, "queue_depth": "1"},
    ),
    Good("GetTaskStats", {"account_id": OWN}, {"counts": {"pending": "0", **ZEROS}, "queue_depth": "0"}),
    Good(
        "GetTaskHistory",
        {
            "account_id": OWN,
            "resolution": "RESOLUTION_HOUR",
            "start_time": "2026-01-31T08:59:59Z",
            "end_time": "2026-01-31T09:00:01Z",
        },
        {"points": [{"time": f"2026-01-31T{hour}:00:00Z", "submitted": "0", "counts": ENDED} for hour in ("08", "09")]},
    ),
    Good(
        "GetTaskHistory",
        {"account_id": OWN, "resolution": "RESOLUTION_DAY", "end_time": "9999-12-31T23:59:59.999999999Z"},
        {"points": lambda points: len(points) == 31 and points[-1]["time"] == "9999-12-31T00:00:00Z"},
    ),
    Good("GetTaskHistory", {"account_id": OWN, "end_time": "0001-01-01T00:00:00Z"}, {"points": []}),
    Good(
        "PollRunningTasks",
        of(account="processing"),
        {"total": 1, "completed": 0, "failed": 0, "timeout": 0, "still_running": 1, "error": 0},
        polled=True,
    ),
    Good(
        "PollRunningTasks",
        {"account_id": NOTHING},
        dict.fromkeys(["total", "completed", "failed", "timeout", "still_running", "error"], 0),
    ),
    Good("PollTask", of(task="pending"), {"status": WAITS}),
]
BAD = [
    Bad("BatchGetTasks", {}, fields=("task_ids",)),
    Bad("BatchGetTasks", {"task_ids": [NO_TASK] * 1_001}, fields=("task_ids",)),
    Bad("BatchGetTasks", {"task_ids": [NO_TASK, ""]}, fields=("task_ids[1]",)),
    Bad("ListTasks", {"page_size": -1, "page_token": "?"}, fields=("page_size", "page_token")),
    Bad("ListTasks", {"order_by": "priority desc"}, fields=("order_by",)),
    Bad("ListTasks", {"order_by": "end_time", **OTHER_PAGE}, fields=("page_token",)),
    Bad("ListTasks", {"statuses": ["TASK_STATUS_UNSPECIFIED"]}, fields=("statuses[0]",)),
    Bad("ListTasks", {"labels": {str(i): "" for i in range(33)}}, fields=("labels",)),
    Bad("ListTaskEvents", {**of(task="pending"), **OTHER_PAGE}, fields=("page_token",)),
    Bad(
        "ListAttemptLogs",
        {**of(task="pending"), "page_size": -1, "page_token": "?"},
        fields=("page_size", "page_token"),
    ),
    Bad(
        "ListTasks",
        {
            "account_id": 1,
            "statuses": [WAITS],
            "labels": {"a": "b"},
            "schedule_id": 1,
            "filter": {
                "account_id": 2,
                "statuses": ["TASK_STATUS_FAILED"],
                "labels": {"a": "c"},
                "schedule_id": 2,
                "error_reasons": [""],
                "worker_id": "w" * 201,
                "topic": "t" * 4_001,
            },
        },
        fields=(
            "filter.worker_id",
            "filter.topic",
            "filter.statuses",
            "filter.labels",
            "filter.schedule_id",
            "filter.error_reasons[0]",
            "filter.account_id",
        ),
    ),
    Bad("ListTasks", {"filter": {"error_reasons": ["x"] * 101}}, fields=("filter.error_reasons",)),
    Bad("TailAttempt", {**of(task="submitted"), "resume_token": "?"}, fields=("resume_token",)),
    Bad("TailAttempt", {"resume_token": "?"}, fields=("task_id", "resume_token")),
    wrong_state("TailAttempt", of(task="pending"), "pending", "submitted,processing"),
    Bad("WatchTasks", {"task_ids": [NO_TASK], "account_id": "1"}, fields=("account_id",)),
    Bad("WatchTasks", {"task_ids": [NO_TASK] * 1_001}, fields=("task_ids",)),
    Bad("WatchTasks", {"account_id": OWN, "resume_token": "?"}, fields=("resume_token",)),
    missing("WatchTasks", {"task_ids": [NO_TASK]}, "task", NO_TASK),
    missing("WatchTasks", {"account_id": NOTHING}, "account"),
    missing("GetTaskStats", {"account_id": NOTHING}, "account"),
    missing("GetTaskHistory", {"account_id": NOTHING}, "account"),
    Bad(
        "GetTaskHistory",
        {"start_time": "2026-01-31T08:00:00Z", "end_time": "0001-01-01T00:00:00Z"},
        fields=("end_time",),
    ),
    Bad("GetTaskHistory", {"start_time": "0001-01-01T00:00:00Z"}, fields=("start_time",)),
    Bad("PollRunningTasks", {"account_id": -1}, fields=("account_id",)),
]
