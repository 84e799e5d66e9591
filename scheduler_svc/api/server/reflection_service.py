"""grpc.reflection.v1alpha.ServerReflection, as grpcio-reflection answers it. Part of `api`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionServicer


class ReflectionService(ServerReflectionServicer):
    """Each answer repeats its request, but nothing of it that has no meaning.

    What is nested as deeply as a message may be would stand one level deeper in the answer, which nobody could read.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._answers: Any = reflection.aio.ReflectionServicer(services)

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterable[ServerReflectionRequest], context: object
    ) -> AsyncIterator[ServerReflectionResponse]:
        async for answer in self._answers.ServerReflectionInfo(_known(request_iterator), context):
            yield answer


async def _known(requests: AsyncIterable[ServerReflectionRequest]) -> AsyncIterator[ServerReflectionRequest]:
    async for request in requests:
        request.DiscardUnknownFields()
        yield request
