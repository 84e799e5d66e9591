"""A client and a worker without generated stubs: they learn the RPCs by reflection."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.waiting import PATIENCE_S


class Stream:
    """One call of a streaming RPC; its messages are plain dicts. It is cancelled at the end of its block."""

    def __init__(self, call: Any, request_class: type[Message]) -> None:
        self._call = call
        self._request_class = request_class

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def write(self, **fields: Any) -> None:
        await self.write_bytes(json_format.ParseDict(fields, self._request_class()).SerializeToString())

    async def write_bytes(self, data: bytes) -> None:
        """Sends bytes that need not be a message; if the stream has ended already, `read` raises why."""
        with suppress(asyncio.InvalidStateError, aio.AioRpcError):
            await self._call.write(data)

    async def read(self) -> dict[str, Any]:
        """The next message. Raises AioRpcError if an error has ended the stream."""
        async with asyncio.timeout(PATIENCE_S):
            response = await self._call.read()
        assert response is not aio.EOF, "the stream has ended well"
        return whole(response)


class Reflected:
    """Calls RPCs by name, with and to plain dicts."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self._pool = DescriptorPool()
        self._known: set[str] = set()
        self._learning = asyncio.Lock()

    async def call(self, rpc: str, **fields: Any) -> dict[str, Any]:
        """Calls the unary `package.Service/Rpc`; unset fields are left out of the answer. Raises AioRpcError."""
        response = await self._invoke(rpc, (await self.request(rpc, fields)).SerializeToString())
        answer: dict[str, Any] = json_format.MessageToDict(response, preserving_proto_field_name=True)
        return answer

    async def send(self, rpc: str, data: bytes) -> dict[str, Any]:
        """The answer to these bytes, or the first of a stream of answers, as `whole` shows it. Raises AioRpcError."""
        return whole(await self._invoke(rpc, data))

    async def request(self, rpc: str, fields: Mapping[str, Any]) -> Message:
        """The RPC's request, of these fields in their JSON form."""
        method = await self.method(rpc)
        return json_format.ParseDict(dict(fields), GetMessageClass(method.input_type)())

    async def rpcs(self, package: str) -> dict[str, MethodDescriptor]:
        """Every RPC of a package that the server names, by `package.Service/Rpc`."""
        answer = await self._reflect(ServerReflectionRequest(list_services=""))
        services = [service.name for service in answer.list_services_response.service]
        descriptors = [await self._service(name) for name in services if name.rpartition(".")[0] == package]
        return {
            f"{service.full_name}/{name}": method
            for service in descriptors
            for name, method in service.methods_by_name.items()
        }

    async def method(self, rpc: str) -> MethodDescriptor:
        service, _, name = rpc.partition("/")
        method: MethodDescriptor = (await self._service(service)).methods_by_name[name]
        return method

    async def stream(self, rpc: str) -> Stream:
        """A new call of a bidirectional streaming RPC, as a context."""
        method = await self.method(rpc)
        response_class = GetMessageClass(method.output_type)
        begin: Any = self.channel.stream_stream(f"/{rpc}", response_deserializer=response_class.FromString)
        return Stream(begin(), GetMessageClass(method.input_type))

    async def _invoke(self, rpc: str, data: bytes) -> Message:
        method = await self.method(rpc)
        response_class = GetMessageClass(method.output_type)
        kind: Any = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        call = kind(f"/{rpc}", response_deserializer=response_class.FromString)(data, timeout=PATIENCE_S)
        response: Message
        try:
            response = await (call.read() if method.server_streaming else call)
        finally:
            call.cancel()
        return response

    async def _service(self, service: str) -> Any:
        async with self._learning:
            if service not in self._known:
                for file in await self._files(ServerReflectionRequest(file_containing_symbol=service)):
                    await self._add(file)
                self._known.add(service)
        return self._pool.FindServiceByName(service)

    async def _add(self, file: FileDescriptorProto) -> None:
        """Adds a file, after the files that it imports."""
        if file.name in self._known:
            return
        self._known.add(file.name)
        for imported in file.dependency:
            for dependency in await self._files(ServerReflectionRequest(file_by_filename=imported)):
                await self._add(dependency)
        self._pool.Add(file)

    async def _files(self, wanted: ServerReflectionRequest) -> list[FileDescriptorProto]:
        answer = await self._reflect(wanted)
        files = answer.file_descriptor_response.file_descriptor_proto
        assert files, f"reflection does not know {wanted}: {answer}"
        return [FileDescriptorProto.FromString(file) for file in files]

    async def _reflect(self, wanted: ServerReflectionRequest) -> Any:
        stub: Any = ServerReflectionStub(self.channel)  # type: ignore[arg-type] # its types know no aio
        call = stub.ServerReflectionInfo(iter([wanted]))
        async with asyncio.timeout(PATIENCE_S):
            return await call.read()


def whole(message: Message) -> dict[str, Any]:
    """A message in its JSON form, with fields at their default, but without unset fields with presence."""
    fields: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


# A worker that brings a test's tasks, named by their ids, into a state. It speaks by the stubs, not by reflection.


COMMITTED = pb.UPDATE_OUTCOME_COMMITTED
_numbers = itertools.count(1)


def identity() -> dict[str, Any]:
    """What a hello requires, of a worker that is no other test's."""
    number = next(_numbers)
    return {"worker_id": f"w{number}", "folder_id": f"f{number}", "session_number": 1, "slots": 3}


class Worker:
    """One session, which begins when it is first needed, and ends with the block."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stream = ScriptedWorker(channel, hello(**identity()))
        self._session = AsyncExitStack()
        self._connected = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.aclose()

    @property
    def worker_id(self) -> str:
        return self._stream.hello.worker_id

    async def connect(self) -> None:
        if not self._connected:
            await self._session.enter_async_context(self._stream)
            self._connected = True

    async def take(self, task_id: str) -> None:
        """Takes tasks until it has this one; it keeps the others."""
        await self.connect()
        while task_id not in self._leases:
            await self._stream.take()

    async def start(self, task_id: str) -> None:
        await self.take(task_id)
        await self._report(task_id, processing=pb.Processing())

    async def complete(self, task_id: str, **result: Any) -> None:
        assert await self._stream.complete(self._leases[task_id], **result) == COMMITTED

    async def upload(self, task_id: str, data: bytes) -> None:
        await self._stream.upload(self._leases[task_id], data)

    async def fail(self, task_id: str, reason: str = "CREATOR_ERROR", output: pb.RunOutput | None = None) -> None:
        assert await self._stream.fail(self._leases[task_id], reason, output=output) == COMMITTED

    async def defer(self, task_id: str) -> None:
        await self._report(task_id, deferred=pb.Deferred(retry_after=Duration(seconds=60)))

    async def give_back(self, task_id: str, reason: str, *, started: bool = False) -> None:
        released = pb.Released(reason=pb.ReleaseReason.Value(f"RELEASE_REASON_{reason}"), started=started)
        await self._report(task_id, released=released)

    async def answer_poll(self) -> None:
        """Waits for a poll, and answers that nothing has changed."""
        await self._stream.polled()
        await self._stream.heartbeat(0)

    @property
    def _leases(self) -> Mapping[str, pb.AssignedLease]:
        return {lease.task.task_id: lease for lease in self._stream.held.values()}

    async def _report(self, task_id: str, **update: Any) -> None:
        assert await self._stream.report(self._leases[task_id], **update) == COMMITTED
