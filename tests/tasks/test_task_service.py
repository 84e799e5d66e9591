"""TaskService over a real server on a real database: submitting and reading."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from contentgen.submit_fields import BRIEF, BY_NAME
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.tasks.sql import lists as task_lists
from tests.harness.client import refused
from tests.harness.replicas import MAX_QUEUE_SIZE

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub
    from tests.harness.scripted_worker import ScriptedWorker

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

MISSING = "task-0123456789abcdef"
UNLIKE_AN_ID = "no id at all"
TOPIC = "人工智能的未来发展"
GIVEN = [name for name in BY_NAME if name != "creator_options"]
"""Fields that a task has from its submit."""


def submit(account: int, topic: str = TOPIC, **fields: object) -> pb.SubmitTaskRequest:
    return pb.SubmitTaskRequest(account_id=account, topic=topic, **fields)  # type: ignore[arg-type]


async def submitted(tasks: TaskServiceAsyncStub, account: int, topic: str = TOPIC, **fields: object) -> task_pb2.Task:
    return (await tasks.SubmitTask(submit(account, topic, **fields))).task


async def get(tasks: TaskServiceAsyncStub, task_id: str) -> task_pb2.Task:
    return (await tasks.GetTask(pb.GetTaskRequest(task_id=task_id))).task


async def test_a_task_is_stored_as_it_was_submitted(tasks: TaskServiceAsyncStub, account: int) -> None:
    before = time.time()
    request = submit(
        account,
        **{field.name: f"{field.name}, 未来" for field in BRIEF},
        priority=8,
        auto_approve=False,
        max_retries=0,
        auto_retry=False,
        timeout=Duration(seconds=90, nanos=500_000_000),
        schedule_time=Timestamp(seconds=4_000_000_000),
        request_id="once",
        labels={"team": "a", "empty": ""},
        creator_options={"length": "800"},
        initial_backoff=Duration(nanos=250_000_000),
        backoff_multiplier=1.5,
        max_backoff=Duration(seconds=60),
        expire_time=Timestamp(seconds=4_000_000_001),
        unique_key="news",
        unique_for=Duration(seconds=3_600),
    )
    task = (await tasks.SubmitTask(request)).task
    for field in GIVEN:
        assert getattr(task, field) == getattr(request, field), field
    assert task.task_id.startswith("task-")
    assert len(task.task_id) >= len("task-") + 12
    assert task.status == task_pb2.TASK_STATUS_PENDING
    assert abs(task.create_time.ToSeconds() - before) < 60
    assert (task.attempt, task.retry_count, task.content_id, task.lease_id) == (0, 0, 0, "")
    for unset in ("submit_time", "start_time", "end_time", "timeout_time", "progress", "error"):
        assert not task.HasField(unset), unset
    stored = await get(tasks, task.task_id)
    stored.ClearField("pending_reason")
    assert stored == task


async def test_missing_fields_get_their_defaults(tasks: TaskServiceAsyncStub, account: int) -> None:
    task = await submitted(tasks, account)
    assert (task.priority, task.auto_approve, task.max_retries, task.auto_retry) == (5, True, 3, True)
    assert task.timeout.ToTimedelta().total_seconds() == 30 * 60
    for unset in ("schedule_time", "expire_time", "initial_backoff", "backoff_multiplier", "max_backoff", "unique_for"):
        assert not task.HasField(unset), unset
    assert not task.unique_key


async def test_an_answer_says_which_tasks_were_there_before(tasks: TaskServiceAsyncStub, account: int) -> None:
    for fields in ({"request_id": "r"}, {"unique_key": "u"}):
        first = await tasks.SubmitTask(submit(account, **fields))
        second = await tasks.SubmitTask(submit(account, **fields))
        assert (first.existing, second.existing) == (False, True)
        assert first.task == second.task
    batch = [{}, {"unique_key": "u"}, {"unique_key": "v"}, {"request_id": "r"}, {"unique_key": "v"}]
    request = pb.BatchSubmitTasksRequest(requests=[submit(account, **fields) for fields in batch])
    answer = await tasks.BatchSubmitTasks(request)
    assert list(answer.existing_indexes) == [1, 3, 4]
    assert answer.tasks[2] == answer.tasks[4]


async def test_a_failed_task_is_not_retried_while_another_one_has_its_unique_key(
    tasks: TaskServiceAsyncStub, account: int, worker: ScriptedWorker
) -> None:
    failed = await submitted(tasks, account, unique_key="u", auto_retry=False)
    (lease,) = await worker.take()
    await worker.start(lease)
    await worker.fail(lease)
    second = await submitted(tasks, account, unique_key="u")
    assert second.task_id != failed.task_id
    with refused(StatusCode.FAILED_PRECONDITION, "UNIQUE_KEY_IN_USE") as refusal:
        await tasks.RetryTask(pb.RetryTaskRequest(task_id=failed.task_id))
    assert refusal.metadata == {"task_id": second.task_id}
    assert (await tasks.BulkRetryTasks(pb.BulkRetryTasksRequest(account_id=account))).retried_count == 0


@pytest.mark.parametrize(
    "topic", ["--help", "'; DROP TABLE tasks; --", '$(x) "q" \\', "a\nb\tc", "😀" * 4_000, "%s %(x)s"]
)
async def test_a_hostile_topic_is_returned_unchanged(tasks: TaskServiceAsyncStub, account: int, topic: str) -> None:
    task = await submitted(tasks, account, topic)
    assert (await get(tasks, task.task_id)).topic == topic


async def test_a_bad_submit_is_refused_with_every_bad_field(tasks: TaskServiceAsyncStub) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.SubmitTask(
            pb.SubmitTaskRequest(
                topic="\0",
                priority=0,
                max_retries=101,
                timeout=Duration(seconds=-1),
                creator_options={"topic": "x"},
            )
        )
    assert set(refusal.fields) == {
        "account_id",
        "topic",
        "priority",
        "max_retries",
        "timeout",
        'creator_options["topic"]',
    }
    assert not (await tasks.ListTasks(pb.ListTasksRequest())).tasks


async def test_a_submit_for_an_unknown_account_is_not_found(tasks: TaskServiceAsyncStub) -> None:
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await submitted(tasks, 999)
    assert refusal.metadata == {"resource_type": "account", "resource_id": "999"}


async def test_a_request_id_returns_the_first_task(tasks: TaskServiceAsyncStub, account: int) -> None:
    first = await submitted(tasks, account, request_id="once", labels={"a": "1", "b": "2"})
    again = await submitted(tasks, account, request_id="once", labels={"b": "2", "a": "1"})
    assert again.task_id == first.task_id
    assert len((await tasks.ListTasks(pb.ListTasksRequest())).tasks) == 1
    with refused(StatusCode.ALREADY_EXISTS, "REQUEST_ID_CONFLICT") as refusal:
        await submitted(tasks, account, "something else", request_id="once")
    assert refusal.metadata == {"task_id": first.task_id}


async def test_concurrent_submits_with_one_request_id_make_one_task(tasks: TaskServiceAsyncStub, account: int) -> None:
    repeats = await asyncio.gather(*(submitted(tasks, account, request_id="once") for _ in range(20)))
    assert len({task.task_id for task in repeats}) == 1


async def test_a_batch_is_stored_in_order_and_answered_without_requirements(
    tasks: TaskServiceAsyncStub, account: int
) -> None:
    requests = [submit(account, f"topic {i}", requirements="long", priority=1 + i % 10) for i in range(1_000)]
    answer = (await tasks.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=requests))).tasks
    assert [(task.topic, task.priority) for task in answer] == [
        (request.topic, request.priority) for request in requests
    ]
    assert {task.requirements for task in answer} == {""}
    assert len({task.task_id for task in answer}) == 1_000
    assert (await get(tasks, answer[0].task_id)).requirements == "long"


async def test_a_request_id_for_two_payloads_of_a_batch_is_invalid(tasks: TaskServiceAsyncStub, account: int) -> None:
    requests = [submit(account, topic, request_id="once") for topic in ("a topic", "another", "a topic")]
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=requests))
    assert refusal.fields == ["requests[1].request_id"]
    assert not (await tasks.ListTasks(pb.ListTasksRequest())).tasks
    answer = await tasks.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=requests[::2]))
    assert len({task.task_id for task in answer.tasks}) == 1


async def test_a_batch_with_one_bad_request_stores_nothing(tasks: TaskServiceAsyncStub, account: int) -> None:
    requests = [submit(account), submit(account, " "), submit(account, priority=11)]
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=requests))
    assert refusal.fields == ["requests[1].topic", "requests[2].priority"]
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await tasks.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=[submit(account), submit(999)]))
    assert not (await tasks.ListTasks(pb.ListTasksRequest())).tasks


@pytest.mark.parametrize("size", [0, 1_001])
async def test_a_batch_of_none_or_more_than_1000_is_refused(
    tasks: TaskServiceAsyncStub, account: int, size: int
) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=[submit(account)] * size))
    assert refusal.fields == ["requests"]


async def test_a_batch_whose_answer_would_be_too_large_is_refused(tasks: TaskServiceAsyncStub, account: int) -> None:
    large = pb.BatchSubmitTasksRequest(requests=[submit(account, "x" * 4_000)] * 1_000)
    assert large.ByteSize() < 4 << 20
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BatchSubmitTasks(large)
    assert refusal.fields == ["requests"]
    requirements = pb.BatchSubmitTasksRequest(requests=[submit(account, requirements="x" * 18_000)] * 230)
    assert requirements.ByteSize() > 4_000_000
    assert len((await tasks.BatchSubmitTasks(requirements)).tasks) == 230


async def test_a_full_queue_refuses_submits(tasks: TaskServiceAsyncStub, account: int) -> None:
    batch = pb.BatchSubmitTasksRequest(requests=[submit(account)] * 1_000)
    for _ in range(MAX_QUEUE_SIZE // 1_000):
        await tasks.BatchSubmitTasks(batch)
    with refused(StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL") as refusal:
        await submitted(tasks, account)
    assert refusal.retry_after
    assert (await tasks.GetTaskStats(pb.GetTaskStatsRequest())).counts["pending"] == MAX_QUEUE_SIZE


@pytest.mark.parametrize("rpc", ["GetTask", "CancelTask", "RetryTask", "WaitTask", "ListTaskEvents"])
async def test_a_task_is_named_by_its_id(tasks: TaskServiceAsyncStub, rpc: str) -> None:
    call, request = getattr(tasks, rpc), getattr(pb, f"{rpc}Request")
    for task_id in (MISSING, UNLIKE_AN_ID, MISSING.upper(), MISSING + "\n", "task-" + "f" * 16, "x" * 100_000):
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await call(request(task_id=task_id))
        assert refusal.metadata["resource_type"] == "task"
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await call(request())
    assert refusal.fields == ["task_id"]


async def test_many_tasks_are_read_at_once(tasks: TaskServiceAsyncStub, account: int) -> None:
    first, second = await submitted(tasks, account, requirements="long"), await submitted(tasks, account)
    asked = [second.task_id, MISSING, first.task_id, UNLIKE_AN_ID, second.task_id, MISSING]
    answer = await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=asked))
    assert list(answer.tasks) == [second, first]
    assert list(answer.missing_task_ids) == [MISSING, UNLIKE_AN_ID]


@pytest.mark.parametrize(
    ("task_ids", "field"), [([], "task_ids"), ([MISSING] * 1_001, "task_ids"), ([MISSING, ""], "task_ids[1]")]
)
async def test_a_batch_get_of_none_or_more_than_1000_is_refused(
    tasks: TaskServiceAsyncStub, task_ids: list[str], field: str
) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids))
    assert refusal.fields == [field]


async def test_batches_of_more_than_3_mib_have_to_be_read_in_parts(tasks: TaskServiceAsyncStub, account: int) -> None:
    batch = pb.BatchSubmitTasksRequest(requests=[submit(account, requirements="x" * 18_000)] * 200)
    task_ids = [task.task_id for task in (await tasks.BatchSubmitTasks(batch)).tasks]
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids))
    assert refusal.fields == ["task_ids"]
    assert len((await tasks.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids[:100]))).tasks) == 100


async def pages(tasks: TaskServiceAsyncStub, **wanted: object) -> list[list[task_pb2.Task]]:
    slices: list[list[task_pb2.Task]] = []
    token = ""
    while not slices or token:
        request = pb.ListTasksRequest(page_token=token, **wanted)  # type: ignore[arg-type]
        answer = await tasks.ListTasks(request)
        slices.append(list(answer.tasks))
        token = answer.next_page_token
    return slices


async def test_a_list_is_newest_first_without_requirements(tasks: TaskServiceAsyncStub, account: int) -> None:
    submissions = [await submitted(tasks, account, f"topic {i}", requirements="long") for i in range(5)]
    slices = await pages(tasks, page_size=2)
    assert [len(page) for page in slices] == [2, 2, 1]
    listed = [task for page in slices for task in page]
    assert [task.task_id for task in listed] == [task.task_id for task in reversed(submissions)]
    assert {task.requirements for task in listed} == {""}


async def test_a_page_may_be_short_or_empty_and_more_follow(
    tasks: TaskServiceAsyncStub, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many tasks with the label none of the newest is in the state, and a page examines only a few."""
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", 2)
    old = await submitted(tasks, account, labels={"batch": "x"})
    await tasks.CancelTask(pb.CancelTaskRequest(task_id=old.task_id))
    for _ in range(5):
        await submitted(tasks, account, labels={"batch": "x"})
    for _ in range(5):
        other = await submitted(tasks, account)
        await tasks.CancelTask(pb.CancelTaskRequest(task_id=other.task_id))
    slices = await pages(tasks, labels={"batch": "x"}, statuses=[task_pb2.TASK_STATUS_CANCELLED])
    assert len(slices) > 1
    assert not slices[0]
    assert [task.task_id for page in slices for task in page] == [old.task_id]


async def test_a_list_is_filtered_by_account_status_and_labels(tasks: TaskServiceAsyncStub, account: int) -> None:
    red = await submitted(tasks, account, labels={"colour": "red", "size": "s"})
    blue = await submitted(tasks, account, labels={"colour": "blue", "size": "s"})
    await tasks.CancelTask(pb.CancelTaskRequest(task_id=blue.task_id))

    async def ids(**wanted: object) -> list[str]:
        return [task.task_id for page in await pages(tasks, **wanted) for task in page]

    assert await ids(labels={"size": "s"}) == [blue.task_id, red.task_id]
    assert await ids(labels={"size": "s", "colour": "red"}) == [red.task_id]
    assert await ids(statuses=[task_pb2.TASK_STATUS_CANCELLED]) == [blue.task_id]
    assert await ids(statuses=[task_pb2.TASK_STATUS_CANCELLED, task_pb2.TASK_STATUS_PENDING], account_id=account) == [
        blue.task_id,
        red.task_id,
    ]
    assert await ids(account_id=account + 1) == []


async def test_a_page_ends_before_3_mib(tasks: TaskServiceAsyncStub, account: int) -> None:
    batch = pb.BatchSubmitTasksRequest(requests=[submit(account, "题" * 4_000)] * 300)
    await tasks.BatchSubmitTasks(batch)
    slices = await pages(tasks, page_size=1_000)
    assert len(slices) == 2
    assert sum(map(len, slices)) == 300
    assert all(sum(task.ByteSize() for task in page) <= 3 << 20 for page in slices)


async def test_a_page_token_with_another_filter_is_refused(tasks: TaskServiceAsyncStub, account: int) -> None:
    for _ in range(2):
        await submitted(tasks, account)
    token = (await tasks.ListTasks(pb.ListTasksRequest(page_size=1))).next_page_token
    assert token
    for other in (
        pb.ListTasksRequest(page_token=token, account_id=account),
        pb.ListTasksRequest(page_token=token, statuses=[task_pb2.TASK_STATUS_PENDING]),
        pb.ListTasksRequest(page_token=token, labels={"a": "b"}),
        pb.ListTasksRequest(page_token=token[:-2]),
    ):
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await tasks.ListTasks(other)
        assert refusal.fields == ["page_token"]


async def test_a_bad_list_is_refused_with_every_bad_field(tasks: TaskServiceAsyncStub) -> None:
    request = pb.ListTasksRequest(account_id=-1, labels={"": ""}, page_size=-1, page_token="?")
    request.statuses.extend([0, 99])  # type: ignore[list-item]
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.ListTasks(request)
    assert set(refusal.fields) == {
        "account_id",
        "statuses[0]",
        "statuses[1]",
        'labels[""]',
        "page_size",
        "page_token",
    }


async def test_stats_name_all_seven_states(tasks: TaskServiceAsyncStub, account: int) -> None:
    states = {"pending", "submitted", "processing", "completed", "failed", "timeout", "cancelled"}
    empty = await tasks.GetTaskStats(pb.GetTaskStatsRequest())
    assert dict(empty.counts) == dict.fromkeys(states, 0)
    assert not empty.HasField("oldest_pending_age")
    await submitted(tasks, account)
    await submitted(tasks, account, schedule_time=Timestamp(seconds=4_000_000_000))
    cancelled = await submitted(tasks, account)
    await tasks.CancelTask(pb.CancelTaskRequest(task_id=cancelled.task_id))
    for account_id in (0, account):
        stats = await tasks.GetTaskStats(pb.GetTaskStatsRequest(account_id=account_id))
        assert dict(stats.counts) == dict.fromkeys(states, 0) | {"pending": 2, "cancelled": 1}
        assert stats.queue_depth == 1
        assert stats.HasField("oldest_pending_age")
        assert stats.oldest_pending_age.ToSeconds() < 60


async def test_stats_of_an_unknown_account_are_not_found(tasks: TaskServiceAsyncStub) -> None:
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await tasks.GetTaskStats(pb.GetTaskStatsRequest(account_id=999))
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await tasks.GetTaskStats(pb.GetTaskStatsRequest(account_id=-1))
    assert refusal.fields == ["account_id"]


async def test_a_pending_task_shows_why_it_waits(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    later = Timestamp(seconds=int(time.time()) + 3600)
    scheduled = await tasks.SubmitTask(pb.SubmitTaskRequest(account_id=account, topic="later", schedule_time=later))
    waiting = await tasks.SubmitTask(pb.SubmitTaskRequest(account_id=account, topic="now"))
    assert (await get(tasks, scheduled.task.task_id)).pending_reason == task_pb2.PENDING_REASON_SCHEDULED
    assert (await get(tasks, waiting.task.task_id)).pending_reason == task_pb2.PENDING_REASON_ALL_SLOTS_BUSY
    (lease,) = await worker.take()
    assert (await get(tasks, lease.task.task_id)).pending_reason == task_pb2.PENDING_REASON_UNSPECIFIED
    await worker.fail(lease)
    assert (await get(tasks, lease.task.task_id)).pending_reason == task_pb2.PENDING_REASON_BACKOFF
