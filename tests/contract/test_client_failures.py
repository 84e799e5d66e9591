"""The client's calls where a scheduler is away, silent, newer or wrong, against a server that does as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from contentgen.client import ContentGenerationClient, InvalidStateException, refusal
from contentgen.client.repeats import SAFE_TO_REPEAT
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.contract.scripted_scheduler import AWAY, SILENCE, TASKS, Refused, ScriptedScheduler, scripted_scheduler

TASK = "task-000000000000000a"
TIMEOUT = 5.0
SLACK = 2.0
"""Seconds: gRPC rounds what it sends, and the way there takes a moment."""
Calling = Callable[[ContentGenerationClient], Any]
PENDING = task_pb2.Task(task_id=TASK, status=task_pb2.TASK_STATUS_PENDING)
ENDED = task_pb2.Task(task_id=TASK, status=task_pb2.TASK_STATUS_CANCELLED)
ENDED.end_time.GetCurrentTime()

CALLS: dict[str, tuple[Calling, Message, float]] = {
    "SubmitTask": (lambda client: client.submit_task(1, "a topic"), pb.SubmitTaskResponse(task=PENDING), 0),
    "BatchSubmitTasks": (
        lambda client: client.submit_tasks([{"account_id": 1, "topic": "a"}, {"account_id": 1, "topic": "b"}]),
        pb.BatchSubmitTasksResponse(tasks=[PENDING, PENDING]),
        0,
    ),
    "GetTask": (lambda client: client.get_task_status(TASK), pb.GetTaskResponse(task=PENDING), 0),
    "BatchGetTasks": (lambda client: client.get_task_statuses([TASK]), pb.BatchGetTasksResponse(tasks=[PENDING]), 0),
    "ListTasks": (lambda client: client.list_tasks(), pb.ListTasksResponse(tasks=[PENDING]), 0),
    "CancelTask": (lambda client: client.cancel_task(TASK), pb.CancelTaskResponse(task=ENDED), 0),
    "RetryTask": (lambda client: client.retry_task(TASK), pb.RetryTaskResponse(task=PENDING), 0),
    "WaitTask": (lambda client: client.wait(TASK), pb.WaitTaskResponse(task=ENDED), 60),
    "CleanupTasks": (lambda client: client.cleanup_old_tasks(), pb.CleanupTasksResponse(deleted_count=3), 600),
    "HandleTimeouts": (lambda client: client.handle_timeout_tasks(), pb.HandleTimeoutsResponse(timeout_count=3), 600),
    "PollRunningTasks": (lambda client: client.poll_running_tasks(), pb.PollRunningTasksResponse(total=3), 10),
    "PollTask": (lambda client: client.poll_single_task(TASK), pb.PollTaskResponse(status=PENDING.status), 10),
}
"""Of each RPC that a method of the client makes: the call, an answer, the seconds that it may take beyond TIMEOUT."""
REPEATED = {method for methods in SAFE_TO_REPEAT.values() for method in methods}


@pytest.fixture
def scheduler() -> Iterator[ScriptedScheduler]:
    with scripted_scheduler() as scheduler:
        yield scheduler


@pytest.fixture
def client(scheduler: ScriptedScheduler) -> Iterator[ContentGenerationClient]:
    with ContentGenerationClient(scheduler.target, token="secret", timeout=TIMEOUT) as client:
        yield client


@pytest.mark.parametrize("method", CALLS)
def test_a_call_has_a_deadline_and_the_token(
    scheduler: ScriptedScheduler, client: ContentGenerationClient, method: str
) -> None:
    calling, answer, beyond = CALLS[method]
    scheduler.will(method, answer)
    calling(client)
    [call] = scheduler.calls(method)
    assert abs(call.limit - (TIMEOUT + beyond)) < SLACK
    assert call.metadata["authorization"] == "Bearer secret"


@pytest.mark.parametrize("method", [method for method in CALLS if method in REPEATED])
def test_what_is_safe_is_repeated_while_the_scheduler_is_away(
    scheduler: ScriptedScheduler, client: ContentGenerationClient, method: str
) -> None:
    calling, answer, _ = CALLS[method]
    scheduler.will(method, AWAY, AWAY, answer)
    calling(client)
    requests = scheduler.requests(method)
    assert requests == requests[:1] * 3
    for submit in requests[0].requests if method == "BatchSubmitTasks" else ():
        assert submit.request_id


@pytest.mark.parametrize("method", [method for method in CALLS if method not in REPEATED])
def test_what_may_not_come_twice_is_not_repeated(
    scheduler: ScriptedScheduler, client: ContentGenerationClient, method: str
) -> None:
    calling, answer, _ = CALLS[method]
    scheduler.will(method, AWAY, answer)
    with pytest.raises(grpc.RpcError, match=AWAY.message):
        calling(client)
    assert len(scheduler.calls(method)) == 1


def test_submits_carry_a_request_id_of_their_own(scheduler: ScriptedScheduler, client: ContentGenerationClient) -> None:
    for _ in range(2):
        scheduler.will("SubmitTask", AWAY, pb.SubmitTaskResponse(task=PENDING))
        assert client.submit_task(1, "the same topic") == TASK
    first, again, second, _ = (request.request_id for request in scheduler.requests("SubmitTask"))
    assert first == again
    assert first != second
    scheduler.will("BatchSubmitTasks", pb.BatchSubmitTasksResponse(tasks=[PENDING] * 2))
    client.submit_tasks(
        {"account_id": 1, "topic": "a topic", "timeout": 1.5, "request_id": given} for given in ("r", None)
    )
    [batch] = scheduler.requests("BatchSubmitTasks")
    assert batch.requests[0].request_id == "r"
    assert len(batch.requests[1].request_id) == 32
    assert [each.timeout.ToMilliseconds() for each in batch.requests] == [1_500, 1_500]
    assert not batch.requests[0].HasField("priority")


def test_a_batch_with_a_name_that_is_no_argument_is_refused(client: ContentGenerationClient) -> None:
    with pytest.raises(ValueError, match="topics"):
        client.submit_tasks([{"account_id": 1, "topics": "a topic"}])


def test_a_silent_scheduler_is_a_deadline(scheduler: ScriptedScheduler) -> None:
    scheduler.will("GetTask", SILENCE)
    with ContentGenerationClient(scheduler.target, timeout=0.2) as client, pytest.raises(grpc.RpcError) as raised:
        client.get_task_status(TASK)
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def unreadable(code: int = Code.NOT_FOUND, message: str = "refused", type_url: str = "") -> bytes:
    status = Status(code=code, message=message)
    if type_url:
        status.details.add(type_url=type_url, value=b"\xff\xff\xff")
    return status.SerializeToString()


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff\xff",
        unreadable(code=Code.INTERNAL),
        unreadable(message="another message"),
        unreadable(type_url="type.googleapis.com/google.rpc.ErrorInfo"),
        unreadable(type_url="type.googleapis.com/some.newer.Detail"),
        unreadable(type_url="no url at all"),
    ],
    ids=["no status", "another code", "another message", "no ErrorInfo", "unknown detail", "no url"],
)
def test_details_that_cannot_be_read_leave_the_error_as_it_is(
    scheduler: ScriptedScheduler, client: ContentGenerationClient, details: bytes
) -> None:
    scheduler.will("GetTask", Refused(grpc.StatusCode.NOT_FOUND, details=details))
    with pytest.raises(grpc.RpcError) as raised:
        client.get_task_status(TASK)
    assert isinstance(raised.value, grpc.Call)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, "refused")
    assert refusal(raised.value) == ("", "refused", {})


def test_a_wrong_state_without_its_metadata_is_still_one(
    scheduler: ScriptedScheduler, client: ContentGenerationClient
) -> None:
    scheduler.will("CancelTask", Refused(grpc.StatusCode.FAILED_PRECONDITION, reason="INVALID_STATE"))
    with pytest.raises(InvalidStateException, match="refused") as raised:
        client.cancel_task(TASK)
    assert (raised.value.current_state, raised.value.required_state) == ("", "")


def test_a_reason_that_has_no_exception_can_be_read(
    scheduler: ScriptedScheduler, client: ContentGenerationClient
) -> None:
    metadata = {"task_id": TASK}
    scheduler.will("SubmitTask", Refused(grpc.StatusCode.ALREADY_EXISTS, "used", "REQUEST_ID_CONFLICT", metadata))
    with pytest.raises(grpc.RpcError) as raised:
        client.submit_task(1, "another topic", request_id="r")
    assert refusal(raised.value) == ("REQUEST_ID_CONFLICT", "used", metadata)


def test_a_newer_scheduler_s_states_and_fields_do_no_harm(
    scheduler: ScriptedScheduler, client: ContentGenerationClient
) -> None:
    newer = PENDING.SerializeToString() + field(10, 99) + field(2_000, 7)
    response = b"\x0a" + bytes([len(newer)]) + newer + field(2_001, 8)
    assert pb.GetTaskResponse.FromString(response).task.status == 99
    scheduler.will("GetTask", response)
    found = client.get_task_status(TASK)
    assert found is not None
    assert (found["task_id"], found["status"]) == (TASK, "99")
    scheduler.will("PollTask", field(1, 99) + field(2_000, 7))
    assert client.poll_single_task(TASK) == "99"
    scheduler.will("WatchTasks", [b"\x0a" + bytes([len(response)]) + response, SILENCE])
    with client.watch([TASK]) as events:
        assert next(events)["task"]["status"] == "99"


def field(number: int, value: int) -> bytes:
    """A varint field on the wire."""
    return b"".join(map(_varint, (number << 3, value)))


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def test_what_the_workers_say(scheduler: ScriptedScheduler, client: ContentGenerationClient) -> None:
    figures = {"total": 10, "completed": 3, "failed": 1, "timeout": 0, "still_running": 5, "error": 1}
    scheduler.will("PollRunningTasks", pb.PollRunningTasksResponse(**figures))
    assert client.poll_running_tasks() == figures
    scheduler.will("PollTask", pb.PollTaskResponse(status=task_pb2.TASK_STATUS_PROCESSING))
    assert client.poll_single_task(TASK) == "processing"
    scheduler.will("PollTask", Refused(grpc.StatusCode.NOT_FOUND, reason="RESOURCE_NOT_FOUND"))
    assert client.poll_single_task("task-none") is None
    assert [request.task_id for request in scheduler.requests("PollTask")] == [TASK, "task-none"]


def test_how_many_were_moved(scheduler: ScriptedScheduler, client: ContentGenerationClient) -> None:
    scheduler.will("CleanupTasks", *[pb.CleanupTasksResponse(deleted_count=count) for count in (5, 6, 7)])
    assert (client.cleanup_old_tasks(), client.cleanup_old_tasks(0), client.cleanup_old_tasks(dry_run=True)) == (
        5,
        6,
        7,
    )
    requests = scheduler.requests("CleanupTasks")
    assert [(request.days, request.HasField("days"), request.dry_run) for request in requests] == [
        (7, True, False),
        (0, True, False),
        (7, True, True),
    ]
    scheduler.will("HandleTimeouts", pb.HandleTimeoutsResponse(timeout_count=2))
    assert client.handle_timeout_tasks() == 2


def test_many_threads_share_one_client(scheduler: ScriptedScheduler, client: ContentGenerationClient) -> None:
    ids = [f"task-{number:016x}" for number in range(200)]
    scheduler.will("GetTask", *[pb.GetTaskResponse(task=PENDING)] * len(ids))
    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(client.get_task_status, ids))
    assert sorted(request.task_id for request in scheduler.requests("GetTask")) == ids


def test_every_rpc_of_tasks_that_the_client_knows_is_here() -> None:
    elsewhere = {"WatchTasks", "ListTaskEvents", "GetTaskStats", "BulkRetryTasks"}
    assert CALLS.keys() | elsewhere == {method.name for method in TASKS.methods}
