"""Requests and metadata of the client's calls, over a scripted channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import grpc_testing  # type: ignore[import-untyped] # ships no types
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen import ContentGenerationClient, RequestError
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb

TASKS = pb.DESCRIPTOR.services_by_name["TaskService"]
TASK = "task-0000000000000001"


class Scripted:
    """A client in a thread; the test answers its calls one by one."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._channel = grpc_testing.channel([TASKS], grpc_testing.strict_real_time())
        self.client = ContentGenerationClient("scripted", token="secret", channel=self._channel)

    def start(self, call: Callable[..., Any], *args: Any, **more: Any) -> Future[Any]:
        return self._executor.submit(call, *args, **more)

    def taken(self, method: str) -> tuple[dict[str, str], Any, Any]:
        """Metadata and request of the next call of `method`, and the call to answer."""
        metadata, request, rpc = self._channel.take_unary_unary(TASKS.methods_by_name[method])
        return dict(metadata), request, rpc

    def answer(self, method: str, response: Any, code: grpc.StatusCode = grpc.StatusCode.OK, details: str = "") -> Any:
        """Answers the next call of `method`; its request."""
        _, request, rpc = self.taken(method)
        rpc.terminate(response, (), code, details)
        return request


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with ThreadPoolExecutor(1) as executor:
        yield Scripted(executor)


def test_a_submit_carries_the_token_a_request_id_and_only_what_was_given(scripted: Scripted) -> None:
    submitted = scripted.start(scripted.client.submit_task, 1, "a topic", timeout=1.5, max_retries=0)
    metadata, request, rpc = scripted.taken("SubmitTask")
    rpc.terminate(pb.SubmitTaskResponse(task=task_pb2.Task(task_id=TASK)), (), grpc.StatusCode.OK, "")
    assert submitted.result(5) == TASK
    assert metadata["authorization"] == "Bearer secret"
    assert len(request.request_id) == 32
    assert request.timeout.ToMilliseconds() == 1_500
    assert request.HasField("max_retries")
    assert not request.HasField("auto_retry")
    assert not request.HasField("schedule_time")
    assert not request.HasField("initial_backoff")


def test_a_submit_sends_its_backoff(scripted: Scripted) -> None:
    backoff = {"initial_backoff": 0.5, "backoff_multiplier": 1.5, "max_backoff": 60}
    submitted = scripted.start(scripted.client.submit_task, 1, "a topic", **backoff)
    _, request, rpc = scripted.taken("SubmitTask")
    rpc.terminate(pb.SubmitTaskResponse(task=task_pb2.Task(task_id=TASK)), (), grpc.StatusCode.OK, "")
    assert submitted.result(5) == TASK
    assert (request.initial_backoff.ToMilliseconds(), request.max_backoff.ToSeconds()) == (500, 60)
    assert request.backoff_multiplier == 1.5


def test_an_error_of_a_proxy_has_no_reason(scripted: Scripted) -> None:
    asked = scripted.start(scripted.client.get_task_status, TASK)
    scripted.answer("GetTask", pb.GetTaskResponse(), grpc.StatusCode.NOT_FOUND, "a proxy knows no such host")
    error = asked.exception(5)
    assert isinstance(error, RequestError)
    assert (type(error), error.code, error.message) == (RequestError, "NOT_FOUND", "a proxy knows no such host")


def test_a_long_wait_makes_several_calls(scripted: Scripted) -> None:
    waiting = scripted.start(scripted.client.wait, TASK)
    running = task_pb2.Task(task_id=TASK, status=task_pb2.TASK_STATUS_PROCESSING)
    ended = task_pb2.Task(task_id=TASK, status=task_pb2.TASK_STATUS_CANCELLED, end_time=Timestamp(seconds=1))
    for task in (running, running, ended):
        request = scripted.answer("WaitTask", pb.WaitTaskResponse(task=task))
        assert request.timeout.ToSeconds() == 60
    assert waiting.result(5)["status"] == "cancelled"
