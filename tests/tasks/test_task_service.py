"""TaskService over a real server on a real database: submitting and reading."""

from __future__ import annotations

import pytest

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.harness.client import bad_fields
from tests.harness.maker import TaskClient

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

MISSING = "task-0123456789abcdef"
UNLIKE_AN_ID = "no id at all"


async def test_missing_fields_get_their_defaults(client: TaskClient) -> None:
    task = await client.submit()
    assert (task.priority, task.auto_approve, task.max_retries, task.auto_retry) == (5, True, 3, True)
    assert task.timeout.ToTimedelta().total_seconds() == 30 * 60
    for unset in ("schedule_time", "expire_time", "initial_backoff", "backoff_multiplier", "max_backoff", "unique_for"):
        assert not task.HasField(unset), unset
    assert not task.unique_key


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
    asked = [second.task_id, MISSING, first.task_id, UNLIKE_AN_ID, second.task_id, MISSING]
    answer = await client.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=asked))
    assert list(answer.tasks) == [second, first]
    assert list(answer.missing_task_ids) == [MISSING, UNLIKE_AN_ID]


async def test_batches_of_more_than_3_mib_have_to_be_read_in_parts(client: TaskClient) -> None:
    batch = pb.BatchSubmitTasksRequest(requests=[client.request(requirements="x" * 18_000)] * 200)
    task_ids = [task.task_id for task in (await client.stub.BatchSubmitTasks(batch)).tasks]
    with bad_fields("task_ids"):
        await client.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids))
    assert len((await client.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids[:100]))).tasks) == 100


async def test_a_page_token_with_another_filter_is_refused(client: TaskClient) -> None:
    for _ in range(2):
        await client.submit()
    token = (await client.stub.ListTasks(pb.ListTasksRequest(page_size=1))).next_page_token
    assert token
    for other in (
        pb.ListTasksRequest(page_token=token, account_id=client.account),
        pb.ListTasksRequest(page_token=token, statuses=[task_pb2.TASK_STATUS_PENDING]),
        pb.ListTasksRequest(page_token=token, labels={"a": "b"}),
        pb.ListTasksRequest(page_token=token[:-2]),
    ):
        with bad_fields("page_token"):
            await client.stub.ListTasks(other)
