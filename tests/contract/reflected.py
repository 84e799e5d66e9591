"""A client that knows no proto: what it calls, it learns from the server's reflection, as grpcurl and `buf curl` do."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

PATIENCE_S = 15


class Reflected:
    """Calls unary RPCs by name, with and to plain dicts; a field that has no value of its own is left out of them."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel
        self._pool = DescriptorPool()
        self._known: set[str] = set()
        self._learning = asyncio.Lock()

    async def call(self, rpc: str, **fields: Any) -> dict[str, Any]:
        """Calls `package.Service/Rpc`. Raises AioRpcError."""
        service, _, name = rpc.partition("/")
        method: MethodDescriptor = (await self._service(service)).methods_by_name[name]
        request_class, response_class = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        request = json_format.ParseDict(fields, request_class())
        invoke = self._channel.unary_unary(
            f"/{rpc}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        response: Message = await invoke(request, timeout=PATIENCE_S)
        found: dict[str, Any] = json_format.MessageToDict(response, preserving_proto_field_name=True)
        return found

    async def _service(self, service: str) -> Any:
        async with self._learning:
            if service not in self._known:
                for file in await self._files(ServerReflectionRequest(file_containing_symbol=service)):
                    await self._add(file)
                self._known.add(service)
        return self._pool.FindServiceByName(service)

    async def _add(self, file: FileDescriptorProto) -> None:
        """Adds a file, those that it imports first."""
        if file.name in self._known:
            return
        self._known.add(file.name)
        for imported in file.dependency:
            for each in await self._files(ServerReflectionRequest(file_by_filename=imported)):
                await self._add(each)
        self._pool.Add(file)

    async def _files(self, wanted: ServerReflectionRequest) -> list[FileDescriptorProto]:
        stub: Any = ServerReflectionStub(self._channel)  # type: ignore[arg-type] # its types know no aio
        call = stub.ServerReflectionInfo(iter([wanted]))
        async with asyncio.timeout(PATIENCE_S):
            answer = await call.read()
        files = answer.file_descriptor_response.file_descriptor_proto
        assert files, f"reflection does not know {wanted}: {answer}"
        return [FileDescriptorProto.FromString(file) for file in files]
