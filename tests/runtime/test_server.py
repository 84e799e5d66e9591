"""The server as a whole, and what a caller receives if a handler raises."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc import StatusCode, aio
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from structlog.testing import capture_logs

from contentgen import rpcs
from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceServicer, TaskServiceStub, add_TaskServiceServicer_to_server
from contentgen.v1.worker_service_pb2_grpc import (
    WorkerServiceServicer,
    WorkerServiceStub,
    add_WorkerServiceServicer_to_server,
)
from scheduler_svc.config import Settings
from scheduler_svc.domain.errors import QueueFull
from scheduler_svc.runtime import server as server_module
from scheduler_svc.runtime.health import Health, Reason
from scheduler_svc.runtime.interceptor import ErrorInterceptor, InFlight, send_headers
from scheduler_svc.runtime.server import SERVICES, bind, build
from scheduler_svc.runtime.tls import Certificates
from tests.harness.client import refused
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S

pytestmark = pytest.mark.contract


# The server as a whole: its address, TLS, health, reflection, and limits.


SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN, SERVICE_UNKNOWN = "contentgen.v1.Other", HealthCheckResponse.SERVICE_UNKNOWN


class Task(TaskServiceServicer):
    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:
        """A task whose topic is the caller's address."""
        return pb.GetTaskResponse(task=task_pb2.Task(topic=context.peer()))


@asynccontextmanager
async def served(settings: Settings, health: Health | None = None) -> AsyncIterator[int]:
    services = dict.fromkeys(rpcs.SERVICES, Mock()) | {"TaskService": Task()}  # type: ignore[abstract]
    server = build(services, health or Health())
    try:
        port = bind(server, settings.listen, Certificates(settings) if settings.tls else None)
        await server.start()
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def channel_to(health: Health | None = None) -> AsyncIterator[aio.Channel]:
    async with (
        served(Settings(listen=Address("127.0.0.1", 0)), health) as port,
        aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


async def test_an_address_that_can_t_be_bound_is_a_settings_error() -> None:
    """Also that of another scheduler, with which gRPC would share it."""
    async with served(Settings(listen=Address("127.0.0.1", 0))) as port:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            for reason, address in (
                ("Address already in use", Address("127.0.0.1", taken.getsockname()[1])),
                ("Address already in use", Address("127.0.0.1", port)),
                ("Cannot assign requested address", Address("192.0.2.1", 0)),
            ):
                with pytest.raises(SettingsError) as raised:
                    async with served(Settings(listen=address, insecure=True)):
                        pass
                (problem,) = raised.value.problems
                assert problem.startswith(f"CONTENTGEN_LISTEN={address}: {reason}; set CONTENTGEN_LISTEN")


async def test_health_follows_the_database_and_the_drain() -> None:
    health = Health()
    async with channel_to(health) as channel:
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(service=SERVICES[0]))

        async def seen() -> int:
            async with asyncio.timeout(PATIENCE_S):
                status: int = (await watch.read()).status
            for service in ("", *SERVICES):
                assert (await stub.Check(HealthCheckRequest(service=service))).status == status
            listed = (await stub.List(Empty())).statuses
            statuses = {service: response.status for service, response in listed.items()}
            assert statuses == dict.fromkeys(("", *SERVICES), status)
            return status

        with refused(StatusCode.NOT_FOUND):
            await stub.Check(HealthCheckRequest(service=UNKNOWN))
        assert (await stub.Watch(HealthCheckRequest(service=UNKNOWN)).read()).status == SERVICE_UNKNOWN
        assert await seen() == NOT_SERVING
        for reason in (Reason.STORE_AWAY, Reason.DRAINING):
            health.set(Reason.STORE_AWAY, False)
            assert await seen() == SERVING
            health.set(reason)
            assert await seen() == NOT_SERVING


async def test_reflection_lists_every_service_and_answers_a_deeply_nested_request() -> None:
    begins, ends = bytes([5 << 3 | 3]), bytes([5 << 3 | 4])  # groups of a field that it does not have
    deepest = ServerReflectionRequest.FromString(100 * begins + 100 * ends)
    async with channel_to() as channel:
        stub: Any = ServerReflectionStub(channel)  # type: ignore[arg-type] # its types know no aio
        listed = await stub.ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")])).read()
        nested = await stub.ServerReflectionInfo(iter([deepest])).read()
    standard = ("grpc.channelz.v1.Channelz", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
    assert {service.name for service in listed.list_services_response.service} == {*SERVICES, *standard}
    assert nested.error_response.error_code == StatusCode.INVALID_ARGUMENT.value[0]


async def test_channelz_shows_the_server_and_who_is_connected() -> None:
    async with channel_to() as channel:
        channelz: Any = channelz_pb2_grpc.ChannelzStub(channel)  # type: ignore[arg-type] # its types know no aio
        servers = (await channelz.GetServers(channelz_pb2.GetServersRequest())).server
        listening = [server for server in servers if server.listen_socket]
        assert any(server.data.calls_started for server in listening)
        requests = [channelz_pb2.GetServerSocketsRequest(server_id=server.ref.server_id) for server in listening]
        answers = [await channelz.GetServerSockets(request) for request in requests]
        assert any(answer.socket_ref for answer in answers), "this test's own connection, at least"


async def test_connections_are_rotated_without_failing_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTION_AGE", 0.1)
    async with channel_to() as channel:
        health: Any = HealthStub(channel)
        watch = health.Watch(HealthCheckRequest())
        first = await asyncio.wait_for(watch.read(), PATIENCE_S)
        peers: set[str] = set()
        async with asyncio.timeout(PATIENCE_S):
            while len(peers) < 4:
                peers.add((await TaskServiceStub(channel).GetTask(pb.GetTaskRequest())).task.topic)
        assert first.status == NOT_SERVING
        assert not watch.done(), "what is under way goes on"


async def test_a_message_above_4_mib_is_refused() -> None:
    async with channel_to() as channel:
        with refused(StatusCode.RESOURCE_EXHAUSTED):
            await TaskServiceStub(channel).GetTask(pb.GetTaskRequest(task_id="x" * (4 << 20)))


def credentials(certificates: Path, client: str = "") -> grpc.ChannelCredentials:
    def file(name: str) -> bytes:
        return (certificates / name).read_bytes()

    own = (file(f"{client}.key"), file(f"{client}.pem")) if client else (None, None)
    return grpc.ssl_channel_credentials(file("ca.pem"), *own)


@pytest.mark.parametrize(
    ("asked", "client", "let_in"),
    [(False, "", True), (True, "client", True), (True, "", False), (True, "other", False)],
)
async def test_tls_accepts_clients_with_a_certificate_of_the_client_ca(
    asked: bool, client: str, let_in: bool, certificates: Path
) -> None:
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        tls_cert=certificates / "server.pem",
        tls_key=certificates / "server.key",
        tls_client_ca=certificates / "ca.pem" if asked else None,
    )
    async with (
        served(settings) as port,
        aio.secure_channel(f"127.0.0.1:{port}", credentials(certificates, client)) as channel,
    ):
        call = TaskServiceStub(channel).GetTask(pb.GetTaskRequest())
        assert await call.code() == (StatusCode.OK if let_in else StatusCode.UNAVAILABLE)


async def test_invalid_certificate_files_are_a_settings_error(certificates: Path) -> None:
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        tls_cert=certificates / "server.pem",
        tls_key=certificates / "other.key",
        tls_client_ca=certificates / "ca.key",
    )
    with pytest.raises(SettingsError) as raised:
        async with served(settings):
            pass
    assert [problem.partition("=")[0] for problem in raised.value.problems] == [
        "CONTENTGEN_TLS_CERT",
        "CONTENTGEN_TLS_CLIENT_CA",
    ]


# What a caller receives if a handler raises, over a real server with scripted handlers.


NO_MESSAGE = b"\xff\xff\xff"
REFUSALS = 50
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
"""Keeps the server from sending more to a client that does not read."""


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


@pytest.fixture
def handlers() -> Scripted:
    return Scripted()  # type: ignore[abstract]


@pytest.fixture
def in_flight() -> InFlight:
    return InFlight()


@asynccontextmanager
async def served_by_script(scripted: Scripted, in_flight: InFlight) -> AsyncIterator[aio.Channel]:
    server = aio.server(interceptors=[ErrorInterceptor(in_flight)])
    add_TaskServiceServicer_to_server(scripted, server)
    add_WorkerServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}", options=SMALL_WINDOW) as channel:
            yield channel
    finally:
        await server.stop(None)


@pytest.fixture
async def channel(handlers: Scripted, in_flight: InFlight) -> AsyncIterator[aio.Channel]:
    async with served_by_script(handlers, in_flight) as channel:
        yield channel


def raw(channel: aio.Channel, kind: str, method: str) -> Callable[..., Any]:
    """A call that sends raw bytes."""
    make: Callable[..., Any] = getattr(channel, kind)
    call: Callable[..., Any] = make(f"/contentgen.v1.{method}")
    return call


async def test_a_domain_error_reaches_the_caller_with_its_details(
    handlers: Scripted, tasks: TaskServiceAsyncStub
) -> None:
    handlers.error = QueueFull(5)
    with refused(StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"):
        await tasks.GetTask(pb.GetTaskRequest())
    stream = tasks.WatchTasks(pb.WatchTasksRequest())
    assert await stream.read() == pb.WatchTasksResponse()
    with refused(StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL"):
        await stream.read()


async def test_a_defect_is_logged_and_hidden_from_the_caller(handlers: Scripted, tasks: TaskServiceAsyncStub) -> None:
    handlers.error = RuntimeError("the secret of the database")
    with capture_logs() as events, refused(StatusCode.INTERNAL, "INTERNAL") as refusal:
        await tasks.GetTask(pb.GetTaskRequest())
    assert "secret" not in refusal.message
    (event,) = events
    assert event["exc_info"] is handlers.error
    assert (event["action"], event["method"]) == ("rpc", "/contentgen.v1.TaskService/GetTask")


@pytest.mark.parametrize("message", [NO_MESSAGE, None], ids=["bytes that are none", "none at all"])
async def test_a_refused_call_keeps_no_traceback(channel: aio.Channel, message: bytes | None) -> None:
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


async def test_invalid_bytes_for_a_stream_and_within_one_are_refused(handlers: Scripted, channel: aio.Channel) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
        await raw(channel, "unary_stream", "TaskService/WatchTasks")(NO_MESSAGE).read()
    call = raw(channel, "stream_stream", "WorkerService/Lease")()
    await call.write(worker_pb.LeaseRequest().SerializeToString())
    assert await call.read() == b""
    await call.write(NO_MESSAGE)
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
        await call.read()
    assert handlers.left.is_set()


@pytest.mark.parametrize("how", ["deadline", "cancel", "refused too late"])
async def test_a_handler_ends_with_its_call_and_nothing_is_logged(
    handlers: Scripted, tasks: TaskServiceAsyncStub, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as events:
        if how == "deadline":
            with refused(StatusCode.DEADLINE_EXCEEDED):
                await tasks.GetTask(pb.GetTaskRequest(task_id="wait"), timeout=0.2)
        else:
            late = pb.GetTaskRequest(task_id="refuse too late")
            call: Any = tasks.WatchTasks(pb.WatchTasksRequest()) if how == "cancel" else tasks.GetTask(late)
            await asyncio.wait_for(handlers.entered.wait(), PATIENCE_S)
            call.cancel()
        await asyncio.wait_for(handlers.left.wait(), PATIENCE_S)
    assert events == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_calls_without_a_message_end_with_the_server(handlers: Scripted, in_flight: InFlight) -> None:
    with capture_logs() as events:
        async with served_by_script(handlers, in_flight) as channel:
            silent = [raw(channel, "stream_unary", "TaskService/GetTask")() for _ in range(50)]
            await TaskServiceStub(channel).GetTask(pb.GetTaskRequest())  # comes behind them
            assert not any(call.done() for call in silent)
    assert events == []


async def test_a_stream_closed_by_its_client_ends_without_an_error(channel: aio.Channel) -> None:
    stream = WorkerServiceStub(channel).Lease()
    await stream.write(worker_pb.LeaseRequest())
    assert await stream.read() == worker_pb.LeaseResponse()
    await stream.done_writing()
    assert await stream.read() is aio.EOF
    assert await stream.code() == grpc.StatusCode.OK


async def test_a_stopping_server_finishes_calls_in_progress_and_refuses_new_ones(
    handlers: Scripted, in_flight: InFlight, tasks: TaskServiceAsyncStub
) -> None:
    call = tasks.GetTask(pb.GetTaskRequest(task_id="wait"))
    await handlers.entered.wait()
    ending = asyncio.create_task(in_flight.end(PATIENCE_S))
    with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN") as refusal:
        await tasks.GetTask(pb.GetTaskRequest())
    assert refusal.retry_after == 1
    assert not ending.done()
    handlers.go_on.set()
    assert await call == pb.GetTaskResponse()
    async with asyncio.timeout(PATIENCE_S / 2):
        await ending


@pytest.mark.parametrize("kind", ["call", "headers", "answers", "stream"])
async def test_a_call_that_outlasts_the_stop_is_refused(
    handlers: Scripted, in_flight: InFlight, channel: aio.Channel, tasks: TaskServiceAsyncStub, kind: str
) -> None:
    call: Any
    if kind == "call":
        call = tasks.GetTask(pb.GetTaskRequest(task_id="wait"))
        await handlers.entered.wait()
    elif kind == "stream":
        call = WorkerServiceStub(channel).Lease()
        await call.write(worker_pb.LeaseRequest())
        await call.read()
    else:
        call = tasks.WatchTasks(pb.WatchTasksRequest())
        await (handlers.begun.wait() if kind == "headers" else call.read())
    await in_flight.end(0)
    assert handlers.left.is_set()
    with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
        async with asyncio.timeout(PATIENCE_S):
            await (call if kind == "call" else call.read())


async def test_a_call_whose_answer_nobody_reads_ends_with_the_server(
    handlers: Scripted, in_flight: InFlight, tasks: TaskServiceAsyncStub
) -> None:
    handlers.answer = pb.WatchTasksResponse(event=pb.TaskChange(resume_token="x" * 2**21))
    call = tasks.WatchTasks(pb.WatchTasksRequest())
    await handlers.entered.wait()
    await in_flight.end(0)
    async with asyncio.timeout(PATIENCE_S):
        assert await call.read() == handlers.answer
        with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
            await call.read()
