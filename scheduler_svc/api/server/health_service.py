"""grpc.health.v1.Health: NOT_SERVING while the database is unavailable or the process drains. Part of `api`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from scheduler_svc.application.health import Health

WHOLE_SERVER = ""


class HealthService(HealthServicer):
    """The health of the whole server and of each of `services`, which all have the same state."""

    def __init__(self, health: Health, services: Iterable[str]) -> None:
        self._health = health
        self._services = {WHOLE_SERVER, *services}
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
        """The current state and each change, until this replica drains."""
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

    def _wake_watchers(self, _serving: bool) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
