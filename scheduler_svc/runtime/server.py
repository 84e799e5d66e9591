"""The gRPC server: services, interceptors, options, address, and the standard services health and reflection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc import aio
from grpc_channelz.v1 import channelz, channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionServicer

from contentgen import rpcs
from contentgen.keda import externalscaler_pb2, externalscaler_pb2_grpc
from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.access import AuthInterceptor, Limits
from scheduler_svc.runtime.auditing import Auditor
from scheduler_svc.runtime.health import Health
from scheduler_svc.runtime.interceptor import ErrorInterceptor, InFlight
from scheduler_svc.runtime.tls import Certificates


class HealthService(HealthServicer):
    """The health of the whole server, whose name is empty, and of each of `services`: all have the same state."""

    def __init__(self, health: Health, services: Iterable[str]) -> None:
        self._health = health
        self._services = {"", *services}
        self._changed = asyncio.Event()
        health.subscribe(self._wake_watchers)

    async def Check(self, request: HealthCheckRequest, context: aio.ServicerContext[Any, Any]) -> HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r:.200}")
        return self._state()

    async def List(self, request: object, context: object) -> Any:
        answer = health_pb2.HealthListResponse  # type: ignore[attr-defined]  # its types are older than the RPC
        return answer(statuses={service: self._state() for service in self._services})

    async def Watch(self, request: HealthCheckRequest, context: object) -> AsyncIterator[HealthCheckResponse]:
        """Yields the current state and each change, until this replica drains."""
        known = request.service in self._services
        while True:
            changed = self._changed
            yield self._state() if known else HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
            if self._health.draining:
                return
            await changed.wait()

    def _state(self) -> HealthCheckResponse:
        serving = self._health.serving
        return HealthCheckResponse(status=HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class ReflectionService(ServerReflectionServicer):
    """Drops the unknown fields of requests. A response repeats its request one level deeper, and with deeply nested
    unknown fields it would exceed protobuf's limit of nesting.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._servicer: Any = reflection.aio.ReflectionServicer(services)

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterable[ServerReflectionRequest], context: object
    ) -> AsyncIterator[ServerReflectionResponse]:
        async for response in self._servicer.ServerReflectionInfo(_without_unknown_fields(request_iterator), context):
            yield response


async def _without_unknown_fields(
    requests: AsyncIterable[ServerReflectionRequest],
) -> AsyncIterator[ServerReflectionRequest]:
    async for request in requests:
        request.DiscardUnknownFields()
        yield request


MAX_MESSAGE_BYTES = 4 * 1024 * 1024

SERVICES = tuple(service.full_name for service in rpcs.SERVICES.values())
_SCALER = externalscaler_pb2.DESCRIPTOR.services_by_name["ExternalScaler"].full_name
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

MAX_CONNECTION_AGE = 20 * 60.0
"""Seconds, ±10 %, after which a connection accepts no more calls, so that a load balancer spreads callers evenly over
replicas. Calls in progress continue; `leases/service.py` rotates workers' streams."""

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # else a second scheduler on the port would get half the calls
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive alone does not find a dead peer
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),  # no limit: a watcher may be idle for hours
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # less than our clients use
    ("grpc.http2.max_ping_strikes", 2),  # earlier pings; the next one closes the connection
)


def _server(limits: Limits, *interceptors: aio.ServerInterceptor) -> aio.Server:
    options = (*OPTIONS, ("grpc.max_connection_age_ms", int(MAX_CONNECTION_AGE * 1_000)), *limits.options())
    return aio.server(interceptors=interceptors, options=options, maximum_concurrent_rpcs=limits.all_calls)


class _Unregistered:
    """Adds services to a server, but does not register their methods with gRPC's core.

    For each call, grpc.aio waits anew on one future a registered method: with 80 of them that took a tenth of the time
    of a SubmitTask.
    """

    def __init__(self, server: aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Does nothing."""


def _adder(service: ServiceDescriptor) -> Callable[[object, aio.Server], None]:
    """Returns the generated function that adds a servicer of this service to a server."""
    module = service.file.name.removesuffix(".proto").replace("/", ".")
    return resolve_name(f"{module}_pb2_grpc:add_{service.name}Servicer_to_server")  # type: ignore[no-any-return]


def build(
    services: Mapping[str, object],
    health: Health,
    auth: AuthInterceptor | None = None,
    *,
    in_flight: InFlight | None = None,
    limits: Limits | None = None,
    auditor: Auditor | None = None,
    metrics: Metrics | None = None,
    may_submit: Callable[[], None] = lambda: None,
) -> aio.Server:
    """Returns a server with a servicer for each of `rpcs.SERVICES`, by name, to bind and start within the running loop.

    Without `auth` every caller may call everything. `in_flight` tracks each call, `auditor` records those that may
    change something, `metrics` measures all, and `may_submit` raises
    what refuses those that submit.
    """
    limits = limits or Limits()
    errors = ErrorInterceptor(in_flight or InFlight(), limits, auditor, metrics, may_submit)
    server = _server(limits, auth, errors) if auth else _server(limits, errors)
    added = cast(aio.Server, _Unregistered(server))
    for name, service in rpcs.SERVICES.items():
        _adder(service)(services[name], added)
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(health, SERVICES), added)
    channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), added)
    _describe(added, *SERVICES, _HEALTH, channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name)
    return server


def build_scaler(
    scaler: externalscaler_pb2_grpc.ExternalScalerServicer, health: Health, *, in_flight: InFlight, limits: Limits
) -> aio.Server:
    """Returns the autoscaler's server, for an address of its own: KEDA sends no tokens. Otherwise as of `build`."""
    server = _server(limits, ErrorInterceptor(in_flight, limits.without_tokens()))
    externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(scaler, server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(health, (_SCALER,)), server)
    _describe(server, _SCALER, _HEALTH)
    return server


def _describe(server: aio.Server, *names: str) -> None:
    """Adds the reflection of these services, and of itself."""
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
        ReflectionService([*names, reflection.SERVICE_NAME]), server
    )


def bind(
    server: aio.Server, address: Address, certificates: Certificates | None, setting: str = "CONTENTGEN_LISTEN"
) -> int:
    """Listens on an address, that of a setting. Returns the port; raises SettingsError."""
    try:
        if certificates:
            return server.add_secure_port(str(address), certificates.credentials())
        return server.add_insecure_port(str(address))
    except RuntimeError:
        raise SettingsError([_listen_problem(address, setting)]) from None


def _listen_problem(address: Address, setting: str) -> str:
    """Tries to bind the address, since gRPC gives no reason."""
    advice = f"set {setting} to another address, or stop what uses it (:0 picks a free port)"
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((address.host, address.port))
            reason = "gRPC can't listen there"
    except OSError as error:
        reason = error.strerror or str(error)
    return f"{setting}={address}: {reason}; {advice}"
