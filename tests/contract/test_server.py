"""The server as a whole: its address, TLS, health, reflection, and limits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceServicer
from contentgen.v1.asset_service_pb2_grpc import AssetServiceServicer
from contentgen.v1.audit_service_pb2_grpc import AuditServiceServicer
from contentgen.v1.content_service_pb2_grpc import ContentServiceServicer
from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceServicer
from contentgen.v1.system_service_pb2_grpc import SystemServiceServicer
from contentgen.v1.task_service_pb2_grpc import TaskServiceServicer, TaskServiceStub
from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceServicer
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceServicer
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceServicer
from scheduler_svc.config import Settings
from scheduler_svc.runtime import server as server_module
from scheduler_svc.runtime.health import Health
from scheduler_svc.runtime.server import SERVICES, Services, bind, build
from scheduler_svc.runtime.tls import Certificates
from tests.contract.reflected import Reflected
from tests.harness.rpc_errors import refused

PATIENCE_S = 10
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Task(TaskServiceServicer):
    async def GetTask(self, request: pb.GetTaskRequest, context: Any) -> pb.GetTaskResponse:
        """A task whose topic is the caller's address."""
        return pb.GetTaskResponse(task=task_pb2.Task(topic=context.peer()))


def services() -> Services:
    return Services(
        task=Task(),  # type: ignore[abstract]
        worker=WorkerServiceServicer(),  # type: ignore[abstract]
        worker_pool=WorkerPoolServiceServicer(),  # type: ignore[abstract]
        content=ContentServiceServicer(),  # type: ignore[abstract]
        asset=AssetServiceServicer(),  # type: ignore[abstract]
        account=AccountServiceServicer(),  # type: ignore[abstract]
        schedule=ScheduleServiceServicer(),  # type: ignore[abstract]
        system=SystemServiceServicer(),  # type: ignore[abstract]
        webhook=WebhookServiceServicer(),  # type: ignore[abstract]
        audit=AuditServiceServicer(),  # type: ignore[abstract]
    )


@asynccontextmanager
async def served(settings: Settings, health: Health | None = None) -> AsyncIterator[int]:
    server = build(services(), health or Health())
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


async def test_a_port_in_use_is_a_settings_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(SettingsError) as raised:
            async with served(Settings(listen=address)):
                pass
    (problem,) = raised.value.problems
    assert problem.startswith(f"CONTENTGEN_LISTEN={address}: Address already in use; set CONTENTGEN_LISTEN")


async def test_an_address_of_another_scheduler_is_a_settings_error() -> None:
    async with served(Settings(listen=Address("127.0.0.1", 0))) as port:
        with pytest.raises(SettingsError, match="Address already in use"):
            async with served(Settings(listen=Address("127.0.0.1", port))):
                pass


async def test_an_address_of_another_machine_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="Cannot assign requested address"):
        async with served(Settings(listen=Address("192.0.2.1", 0), insecure=True)):
            pass


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
            assert {service: response.status for service, response in listed.items()} == dict.fromkeys(
                ("", *SERVICES), status
            )
            return status

        assert await seen() == NOT_SERVING
        health.set_store_available(there=True)
        assert await seen() == SERVING
        health.set_store_available(there=False)
        assert await seen() == NOT_SERVING
        health.set_store_available(there=True)
        assert await seen() == SERVING
        health.drain()
        assert await seen() == NOT_SERVING


async def test_health_of_an_unknown_service_is_not_found() -> None:
    async with channel_to() as channel:
        stub: Any = HealthStub(channel)
        with refused(StatusCode.NOT_FOUND):
            await stub.Check(HealthCheckRequest(service="contentgen.v1.Other"))
        watch = stub.Watch(HealthCheckRequest(service="contentgen.v1.Other"))
        assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN


async def test_reflection_lists_every_service() -> None:
    async with channel_to() as channel:
        stub: Any = ServerReflectionStub(channel)  # type: ignore[arg-type] # its types know no aio
        call = stub.ServerReflectionInfo(iter([ServerReflectionRequest(list_services="")]))
        answer = await call.read()
    assert {service.name for service in answer.list_services_response.service} == {
        "contentgen.v1.TaskService",
        "contentgen.v1.WorkerService",
        "contentgen.v1.WorkerPoolService",
        "contentgen.v1.ContentService",
        "contentgen.v1.AssetService",
        "contentgen.v1.AccountService",
        "contentgen.v1.ScheduleService",
        "contentgen.v1.SystemService",
        "contentgen.v1.WebhookService",
        "contentgen.v1.AuditService",
        "grpc.channelz.v1.Channelz",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_reflection_answers_a_deeply_nested_request() -> None:
    begins, ends = bytes([5 << 3 | 3]), bytes([5 << 3 | 4])  # groups of a field that it does not have
    deepest = ServerReflectionRequest.FromString(100 * begins + 100 * ends)
    async with channel_to() as channel:
        stub: Any = ServerReflectionStub(channel)  # type: ignore[arg-type] # its types know no aio
        answer = await stub.ServerReflectionInfo(iter([deepest])).read()
    assert answer.error_response.error_code == StatusCode.INVALID_ARGUMENT.value[0]


async def test_channelz_shows_the_server_and_who_is_connected() -> None:
    async with channel_to() as channel:
        reflected = Reflected(channel)
        servers = (await reflected.call("grpc.channelz.v1.Channelz/GetServers"))["server"]
        listening = [server for server in servers if "listen_socket" in server]
        assert any(int(server["data"].get("calls_started", 0)) > 0 for server in listening)
        sockets = [
            socket
            for server in listening
            for socket in (
                await reflected.call("grpc.channelz.v1.Channelz/GetServerSockets", server_id=server["ref"]["server_id"])
            ).get("socket_ref", ())
        ]
        assert sockets, "this test's own connection, at least"


async def test_channelz_does_not_find_an_unknown_server() -> None:
    async with channel_to() as channel:
        with refused(StatusCode.NOT_FOUND):
            await Reflected(channel).call("grpc.channelz.v1.Channelz/GetServer", server_id=1 << 40)


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
