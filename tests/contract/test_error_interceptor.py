"""What a caller receives if a handler raises, over a real server with scripted handlers."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio
from structlog.testing import capture_logs

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceServicer, TaskServiceStub, add_TaskServiceServicer_to_server
from contentgen.v1.worker_service_pb2_grpc import (
    WorkerServiceServicer,
    WorkerServiceStub,
    add_WorkerServiceServicer_to_server,
)
from scheduler_svc.domain.errors import FieldViolation, InvalidArgument, NotFound, QueueFull, StoreUnavailable
from scheduler_svc.runtime.interceptor import ErrorInterceptor, InFlight, send_headers
from tests.harness.rpc_errors import refused

NO_MESSAGE = b"\xff\xff\xff"
REFUSALS = 50
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
"""Keeps the server from sending more to a client that does not read."""
PATIENCE_S = 10


class Scripted(TaskServiceServicer, WorkerServiceServicer):
    """GetTask, WatchTasks and Lease run the test's handlers."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.answer = pb.WatchTasksResponse()
        self.begun = asyncio.Event()
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.go_on = asyncio.Event()

    async def GetTask(self, request: pb.GetTaskRequest, context: aio.ServicerContext[Any, Any]) -> pb.GetTaskResponse:
        try:
            if self.error:
                raise self.error
            if request.task_id == "refuse too late":
                self.entered.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                await context.abort(StatusCode.NOT_FOUND, "nobody hears it")
            self.entered.set()
            if request.task_id == "wait":
                await self.go_on.wait()
            return pb.GetTaskResponse()
        finally:
            self.left.set()

    async def WatchTasks(
        self, request: pb.WatchTasksRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.WatchTasksResponse]:
        try:
            self.begun.set()
            await send_headers(context.send_initial_metadata(()))
            self.entered.set()
            yield self.answer
            if self.error:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.left.set()

    async def Lease(
        self, requests: AsyncIterator[worker_pb.LeaseRequest], context: aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[worker_pb.LeaseResponse]:
        try:
            await send_headers(context.send_initial_metadata(()))
            async for _ in requests:
                yield worker_pb.LeaseResponse()
        finally:
            self.left.set()


@asynccontextmanager
async def served(scripted: Scripted, in_flight: InFlight | None = None) -> AsyncIterator[aio.Channel]:
    server = aio.server(interceptors=[ErrorInterceptor(in_flight or InFlight())])
    add_TaskServiceServicer_to_server(scripted, server)
    add_WorkerServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=SMALL_WINDOW) as channel:
            yield channel
    finally:
        await server.stop(None)


def scripted() -> Scripted:
    return Scripted()  # type: ignore[abstract]


def raw(channel: aio.Channel, kind: str, method: str) -> Callable[..., Any]:
    """A call that sends raw bytes."""
    make: Callable[..., Any] = getattr(channel, kind)
    call: Callable[..., Any] = make(f"/contentgen.v1.{method}")
    return call


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NotFound("task", "task-1"), StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"),
        (QueueFull(5), StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
        (StoreUnavailable(), StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_a_domain_error_reaches_the_caller_with_its_details(
    error: Exception, code: StatusCode, reason: str
) -> None:
    handlers = scripted()
    handlers.error = error
    async with served(handlers) as channel:
        stub = TaskServiceStub(channel)
        with refused(code, reason):
            await stub.GetTask(pb.GetTaskRequest())
        stream = stub.WatchTasks(pb.WatchTasksRequest())
        assert await stream.read() == pb.WatchTasksResponse()
        with refused(code, reason):
            await stream.read()


async def test_a_defect_is_logged_and_hidden_from_the_caller() -> None:
    handlers = scripted()
    handlers.error = RuntimeError("the secret of the database")
    with capture_logs() as events:
        async with served(handlers) as channel:
            with refused(StatusCode.INTERNAL, "INTERNAL") as refusal:
                await TaskServiceStub(channel).GetTask(pb.GetTaskRequest())
    assert "secret" not in refusal.message
    (event,) = events
    assert event["exc_info"] is handlers.error
    assert (event["action"], event["method"]) == ("rpc", "/contentgen.v1.TaskService/GetTask")


@pytest.mark.parametrize(
    ("kind", "method"), [("unary_unary", "TaskService/GetTask"), ("unary_stream", "TaskService/WatchTasks")]
)
async def test_invalid_bytes_are_an_invalid_argument(kind: str, method: str) -> None:
    async with served(scripted()) as channel:
        call = raw(channel, kind, method)(NO_MESSAGE)
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
            await (call if kind == "unary_unary" else call.read())


@pytest.mark.parametrize("message", [NO_MESSAGE, None], ids=["bytes that are none", "none at all"])
async def test_a_refused_call_keeps_no_traceback(message: bytes | None) -> None:
    async with served(scripted()) as channel:

        async def be_refused() -> None:
            call = raw(channel, "stream_unary", "TaskService/GetTask")()
            if message is not None:
                await call.write(message)
            await call.done_writing()
            with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
                await call

        await be_refused()
        before = tracebacks()
        for _ in range(REFUSALS):
            await be_refused()
        assert tracebacks() - before < REFUSALS


def tracebacks() -> int:
    gc.collect()
    return sum(isinstance(instance, TracebackType) for instance in gc.get_objects())


async def test_invalid_bytes_within_a_stream_are_refused() -> None:
    handlers = scripted()
    async with served(handlers) as channel:
        call = raw(channel, "stream_stream", "WorkerService/Lease")()
        await call.write(worker_pb.LeaseRequest().SerializeToString())
        assert await call.read() == b""
        await call.write(NO_MESSAGE)
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
            await call.read()
        assert handlers.left.is_set()


async def test_the_error_of_a_batch_of_bad_fields_fits_its_metadata() -> None:
    handlers = scripted()
    handlers.error = InvalidArgument(
        [FieldViolation(f"requests[{i}].topic 😀", "is required 😀") for i in range(10_000)]
    )
    async with served(handlers) as channel:
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await TaskServiceStub(channel).GetTask(pb.GetTaskRequest())
    assert len(refusal.fields) > 20


@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_a_handler_ends_with_its_call(how: str, caplog: pytest.LogCaptureFixture) -> None:
    handlers = scripted()
    async with served(handlers) as channel:
        stub = TaskServiceStub(channel)
        if how == "deadline":
            with refused(StatusCode.DEADLINE_EXCEEDED):
                await stub.GetTask(pb.GetTaskRequest(task_id="wait"), timeout=0.2)
        else:
            stream = stub.WatchTasks(pb.WatchTasksRequest())
            await stream.read()
            stream.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await handlers.left.wait()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_refusing_an_ended_call_is_not_logged_as_a_defect(caplog: pytest.LogCaptureFixture) -> None:
    handlers = scripted()
    with capture_logs() as events:
        async with served(handlers) as channel:
            call = TaskServiceStub(channel).GetTask(pb.GetTaskRequest(task_id="refuse too late"))
            async with asyncio.timeout(PATIENCE_S):
                await handlers.entered.wait()
                call.cancel()
                await handlers.left.wait()
    assert events == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_calls_without_a_message_end_with_the_server() -> None:
    with capture_logs() as events:
        async with served(scripted()) as channel:
            silent = [raw(channel, "stream_unary", "TaskService/GetTask")() for _ in range(50)]
            await TaskServiceStub(channel).GetTask(pb.GetTaskRequest())  # comes behind them
            assert not any(call.done() for call in silent)
    assert events == []


async def test_a_stream_closed_by_its_client_ends_without_an_error() -> None:
    handlers = scripted()
    async with served(handlers) as channel:
        stream = WorkerServiceStub(channel).Lease()
        await stream.write(worker_pb.LeaseRequest())
        assert await stream.read() == worker_pb.LeaseResponse()
        await stream.done_writing()
        assert await stream.read() is aio.EOF
        assert await stream.code() == grpc.StatusCode.OK


async def test_a_stopping_server_finishes_calls_in_progress_and_refuses_new_ones() -> None:
    handlers, in_flight = scripted(), InFlight()
    async with served(handlers, in_flight) as channel:
        stub = TaskServiceStub(channel)
        call = stub.GetTask(pb.GetTaskRequest(task_id="wait"))
        await handlers.entered.wait()
        ending = asyncio.create_task(in_flight.end(PATIENCE_S))
        with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN") as refusal:
            await stub.GetTask(pb.GetTaskRequest())
        assert refusal.retry_after == 1
        assert not ending.done()
        handlers.go_on.set()
        assert await call == pb.GetTaskResponse()
        async with asyncio.timeout(PATIENCE_S / 2):
            await ending


@pytest.mark.parametrize("kind", ["call", "headers", "answers", "stream"])
async def test_a_call_that_outlasts_the_stop_is_refused(kind: str) -> None:
    handlers, in_flight = scripted(), InFlight()
    async with served(handlers, in_flight) as channel:
        call: Any
        if kind == "call":
            call = TaskServiceStub(channel).GetTask(pb.GetTaskRequest(task_id="wait"))
            await handlers.entered.wait()
        elif kind == "headers":
            call = TaskServiceStub(channel).WatchTasks(pb.WatchTasksRequest())
            await handlers.begun.wait()
        elif kind == "answers":
            call = TaskServiceStub(channel).WatchTasks(pb.WatchTasksRequest())
            await call.read()
        else:
            call = WorkerServiceStub(channel).Lease()
            await call.write(worker_pb.LeaseRequest())
            await call.read()
        await in_flight.end(0)
        assert handlers.left.is_set()
        with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
            async with asyncio.timeout(PATIENCE_S):
                await (call if kind == "call" else call.read())


async def test_a_call_whose_answer_nobody_reads_ends_with_the_server() -> None:
    handlers, in_flight = scripted(), InFlight()
    handlers.answer = pb.WatchTasksResponse(event=pb.TaskChange(resume_token="x" * 2**21))
    async with served(handlers, in_flight) as channel:
        call = TaskServiceStub(channel).WatchTasks(pb.WatchTasksRequest())
        await handlers.entered.wait()
        await in_flight.end(0)
        async with asyncio.timeout(PATIENCE_S):
            assert await call.read() == handlers.answer
            with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
                await call.read()
