"""Both clients' calls: requests, metadata, and a scheduler that is away, silent or newer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import grpc
import grpc_testing  # type: ignore[import-untyped] # ships no types
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from contentgen import (
    AlreadyExists,
    ContentGenerationClient,
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    InvalidStateException,
    NewTask,
    PermissionDenied,
    RequestError,
    ResourceExhausted,
    ResourceNotFoundException,
    Unauthenticated,
    Unavailable,
)
from contentgen.client.tasks import submit_request
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.harness.client import opened
from tests.harness.credentials import make_certificates
from tests.harness.scripted_server import AWAY, SILENCE, Refused, ScriptedServices, scripted_services
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.contract


TASK = "task-000000000000000a"
PENDING = task_pb2.Task(task_id=TASK, status=task_pb2.TASK_STATUS_PENDING)


def test_each_submit_gets_its_own_request_id(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    for _ in range(2):
        scheduler.will("SubmitTask", AWAY, pb.SubmitTaskResponse(task=PENDING))
        assert client.submit_task(1, "the same topic") == TASK
    first, again, second, _ = (request.request_id for request in scheduler.requests("SubmitTask"))
    assert first == again
    assert first != second
    scheduler.will("BatchSubmitTasks", pb.BatchSubmitTasksResponse(tasks=[PENDING] * 3))
    fields: NewTask = {"account_id": 1, "topic": "a topic", "timeout": 1.5}
    of_command = cast("NewTask", submit_request(**fields))
    client.submit_tasks([{**fields, "request_id": "r"}, {**fields, "request_id": None}, of_command])
    [batch] = scheduler.requests("BatchSubmitTasks")
    assert batch.requests[0].request_id == "r"
    assert [len(request.request_id) for request in batch.requests[1:]] == [32, 32]
    assert [request.timeout.ToMilliseconds() for request in batch.requests] == [1_500, 1_500, 1_500]
    assert not batch.requests[0].HasField("priority")
    scheduler.will("SubmitTask", pb.SubmitTaskResponse(task=PENDING))
    client.submit_task(1, "a topic", max_retries=0, initial_backoff=0.5)
    request = scheduler.requests("SubmitTask")[-1]
    assert request.HasField("max_retries"), "0 is given"
    assert request.initial_backoff.ToMilliseconds() == 500
    not_given = ("auto_retry", "schedule_time", "max_backoff")
    assert not any(map(request.HasField, not_given)), "what is not given is not sent"


def test_a_batch_with_an_unknown_argument_is_refused(client: ContentGenerationClient) -> None:
    with pytest.raises(ValueError, match="topics"):
        client.submit_tasks([{"account_id": 1, "topics": "a topic"}])  # type: ignore[typeddict-item, typeddict-unknown-key]
    with pytest.raises(TypeError, match=r"^priority should be a whole number, not 'high'$"):
        client.submit_tasks([{"account_id": 1, "topic": "a topic", "priority": "high"}])  # type: ignore[typeddict-item]
    with pytest.raises(ValueError, match=r"^schedule_time should be a datetime, or text in ISO 8601, not 'soon'$"):
        client.submit_task(1, "a topic", schedule_time="soon")


def test_a_silent_scheduler_raises_deadline_exceeded(kind: str, scheduler: ScriptedServices) -> None:
    scheduler.will("GetTask", SILENCE)
    with opened(kind, scheduler.target, timeout=0.2) as client, pytest.raises(DeadlineExceeded) as raised:
        client.get_task_status(TASK)
    assert raised.value.code == "DEADLINE_EXCEEDED"
    assert not isinstance(raised.value, grpc.RpcError)


def test_a_target_without_a_scheduler_raises_unavailable(kind: str) -> None:
    with opened(kind, "127.0.0.1:1", timeout=2) as client, pytest.raises(Unavailable) as raised:
        client.cancel_task(TASK)
    assert raised.value.reason == ""


def test_a_call_goes_over_tls(kind: str, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    ca, key, certificate = ((tmp_path / name).read_bytes() for name in ("ca.pem", "server.key", "server.pem"))
    with scripted_services(credentials=grpc.ssl_server_credentials([(key, certificate)])) as scheduler:
        scheduler.will("PollTask", pb.PollTaskResponse(status=PENDING.status))
        with opened(kind, scheduler.target, credentials=grpc.ssl_channel_credentials(ca)) as client:
            assert client.poll_single_task(TASK) == "pending"
        with opened(kind, scheduler.target, timeout=2) as client, pytest.raises(RequestError):
            client.cancel_task(TASK)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
        (grpc.StatusCode.INTERNAL, RequestError),
        (grpc.StatusCode.CANCELLED, RequestError),
        (grpc.StatusCode.UNIMPLEMENTED, RequestError),
    ],
)
def test_each_status_becomes_an_exception_of_the_client(
    scheduler: ScriptedServices, client: ContentGenerationClient, code: grpc.StatusCode, error: type[RequestError]
) -> None:
    scheduler.will("CancelTask", Refused(code, "not now", "A_REASON", {"a": "fact"}))
    with pytest.raises(RequestError, match="not now") as raised:
        client.cancel_task(TASK)
    assert type(raised.value) is error
    assert isinstance(raised.value.__cause__, grpc.RpcError)
    assert (raised.value.code, raised.value.reason, raised.value.metadata) == (code.name, "A_REASON", {"a": "fact"})
    assert (raised.value.retry_delay, raised.value.field_violations) == (None, ())


def test_an_exception_has_the_delay_and_the_bad_fields(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    more = [
        RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)),
        BadRequest(field_violations=[BadRequest.FieldViolation(field="topic", description="should not be empty")]),
    ]
    scheduler.will("SubmitTask", Refused(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_ARGUMENT", more=more))
    with pytest.raises(InvalidArgument) as raised:
        client.submit_task(1, "")
    assert raised.value.retry_delay == 2.5
    assert raised.value.field_violations == (FieldViolation("topic", "should not be empty"),)


def test_an_answer_that_cannot_be_read_is_an_exception_of_the_client(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("GetTask", b"\xff\xff\xff")
    with pytest.raises(RequestError) as raised:
        client.get_task_status(TASK)
    assert raised.value.code == "INTERNAL"


@pytest.mark.parametrize("token", ["two words", "a line end\n", "密码"])
def test_a_token_that_cannot_be_sent_is_refused_at_once(kind: str, token: str) -> None:
    with pytest.raises(ValueError, match="token should be") as raised, opened(kind, "127.0.0.1:1", token=token):
        pytest.fail("it was taken")
    assert token not in str(raised.value)


def test_a_call_of_a_closed_client_is_refused(client: ContentGenerationClient) -> None:
    client.close()
    with pytest.raises(ValueError, match="client is closed"):
        client.get_task_status(TASK)
    with pytest.raises(ValueError, match="client is closed"):
        list(client.iter_tasks())
    with pytest.raises(ValueError, match="client is closed"):
        client.watch([TASK])


def test_closing_the_client_ends_calls_in_progress(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("WaitTask", SILENCE)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(client.wait, TASK)
        wait_until(lambda: scheduler.calls("WaitTask"), within=5, what="the scheduler has the call")
        client.close()
        with pytest.raises(RequestError) as raised:
            waiting.result(5)
    assert raised.value.code == "CANCELLED"


def unreadable(code: int = Code.NOT_FOUND, message: str = "refused", type_url: str = "") -> bytes:
    status = Status(code=code, message=message)
    if type_url:
        status.details.add(type_url=type_url, value=b"\xff\xff\xff")
    return status.SerializeToString()


@pytest.mark.parametrize(
    "details",
    [
        pytest.param(b"", id="none, as of a proxy"),
        pytest.param(b"\xff\xff\xff", id="no status"),
        pytest.param(unreadable(code=Code.INTERNAL), id="another code"),
        pytest.param(unreadable(message="another message"), id="another message"),
        pytest.param(unreadable(type_url="type.googleapis.com/google.rpc.ErrorInfo"), id="no ErrorInfo"),
        pytest.param(unreadable(type_url="type.googleapis.com/some.newer.Detail"), id="unknown detail"),
        pytest.param(unreadable(type_url="no url at all"), id="no url"),
    ],
)
def test_unreadable_error_details_are_ignored(
    scheduler: ScriptedServices, client: ContentGenerationClient, details: bytes
) -> None:
    scheduler.will("GetTask", Refused(grpc.StatusCode.NOT_FOUND, details=details))
    with pytest.raises(RequestError) as raised:
        client.get_task_status(TASK)
    assert not isinstance(raised.value, ResourceNotFoundException)
    error = raised.value
    message = f"the scheduler at {scheduler.target} answers NOT_FOUND: refused"
    assert (error.code, error.message, error.reason, error.metadata) == ("NOT_FOUND", message, "", {})


@pytest.mark.parametrize(
    "metadata", [{}, {"current_state": "processing", "required_state": "pending"}], ids=["no metadata", "states"]
)
def test_an_invalid_state_has_the_states_that_the_scheduler_names(
    scheduler: ScriptedServices, client: ContentGenerationClient, metadata: dict[str, str]
) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    states = (metadata.get("current_state", ""), metadata.get("required_state", ""))
    for rpc, call in (("CancelTask", client.cancel_task), ("RetryTask", client.retry_task)):
        scheduler.will(rpc, Refused(code, reason="INVALID_STATE", metadata=metadata))
        with pytest.raises(InvalidStateException, match="refused") as raised:
            call(TASK)
        assert (raised.value.current_state, raised.value.required_state) == states


def test_unknown_states_and_fields_of_a_newer_scheduler_are_tolerated(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    newer = task_pb2.Task(task_id=TASK, status=99)  # type: ignore[arg-type] # a state that no version has
    newer.MergeFromString(b"\xfa\xff\x7f\x03new")  # a field that no version has
    scheduler.will("GetTask", pb.GetTaskResponse(task=newer))
    task = client.get_task_status(TASK)
    assert task is not None
    assert (task["task_id"], str(task["status"])) == (TASK, "99")
    scheduler.will("PollTask", pb.PollTaskResponse(status=newer.status))
    assert str(client.poll_single_task(TASK)) == "99"
    scheduler.will("WatchTasks", [pb.WatchTasksResponse(event=pb.TaskChange(task=newer)), SILENCE])
    with client.watch([TASK]) as events:
        assert str(next(events)["task"]["status"]) == "99"


def test_a_poll_of_a_task_that_does_not_exist_returns_none(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("PollTask", Refused(grpc.StatusCode.NOT_FOUND, reason="RESOURCE_NOT_FOUND"))
    assert client.poll_single_task(TASK) is None


def test_bulk_calls_return_counts(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    scheduler.will("CleanupTasks", *[pb.CleanupTasksResponse(deleted_count=count) for count in (5, 6, 7)])
    assert (client.cleanup_old_tasks(), client.cleanup_old_tasks(0), client.cleanup_old_tasks(dry_run=True)) == (
        5,
        6,
        7,
    )
    requests = scheduler.requests("CleanupTasks")
    assert all(request.HasField("days") for request in requests)
    assert [(request.days, request.dry_run) for request in requests] == [(7, False), (0, False), (7, True)]
    scheduler.will("BulkCancelTasks", *[pb.BulkCancelTasksResponse(matched_count=9, changed_count=n) for n in (8, 0)])
    assert (client.bulk_cancel_tasks(), client.bulk_cancel_tasks(dry_run=True)) == (8, 9)
    scheduler.will("BulkRetryTasks", *[pb.BulkRetryTasksResponse(matched_count=9, retried_count=n) for n in (8, 0)])
    assert (client.bulk_retry_tasks(), client.bulk_retry_tasks(dry_run=True)) == (8, 9)
    scheduler.will("CleanupTasks", pb.CleanupTasksResponse(deleted_count=4))
    assert client.cleanup_tasks(status="failed", topic="绿茶") == 4
    assert scheduler.requests("CleanupTasks")[-1].filter == pb.TaskFilter(
        statuses=[task_pb2.TASK_STATUS_FAILED], topic="绿茶"
    )
    scheduler.will("HandleTimeouts", pb.HandleTimeoutsResponse(timeout_count=2))
    assert client.handle_timeout_tasks() == 2


def test_many_threads_share_one_client(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    ids = [f"task-{number:016x}" for number in range(200)]
    scheduler.will("GetTask", *[pb.GetTaskResponse(task=PENDING)] * len(ids))
    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(client.get_task_status, ids))
    assert sorted(request.task_id for request in scheduler.requests("GetTask")) == ids


def test_a_long_wait_makes_several_calls(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    ended = task_pb2.Task(task_id=TASK, status=task_pb2.TASK_STATUS_CANCELLED, end_time=Timestamp(seconds=1))
    scheduler.will("WaitTask", *(pb.WaitTaskResponse(task=task) for task in (PENDING, PENDING, ended)))
    assert client.wait(TASK)["status"] == "cancelled"
    assert [request.timeout.ToSeconds() for request in scheduler.requests("WaitTask")] == [60, 60, 60]


def test_a_client_on_a_channel_of_its_caller_sends_the_token_and_only_what_was_given() -> None:
    service = pb.DESCRIPTOR.services_by_name["TaskService"]
    channel = grpc_testing.channel([service], grpc_testing.strict_real_time())
    client = ContentGenerationClient("scripted", token="secret", channel=channel)
    with ThreadPoolExecutor(1) as executor:
        submitted = executor.submit(client.submit_task, 1, "a topic", backoff_multiplier=1.5, max_backoff=60)
        metadata, request, rpc = channel.take_unary_unary(service.methods_by_name["SubmitTask"])
        rpc.terminate(pb.SubmitTaskResponse(task=PENDING), (), grpc.StatusCode.OK, "")
        assert submitted.result(5) == TASK
    assert dict(metadata)["authorization"] == "Bearer secret"
    assert (request.backoff_multiplier, request.max_backoff.ToSeconds()) == (1.5, 60)
    assert not request.HasField("initial_backoff")
