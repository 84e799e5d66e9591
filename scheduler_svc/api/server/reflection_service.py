"""grpc.reflection.v1alpha.ServerReflection, by grpcio-reflection. Part of `api`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionServicer


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
