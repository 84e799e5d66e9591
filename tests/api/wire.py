"""Calls of RPCs with plain dicts, or bytes that need be no message, and a worker that moves tasks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Self

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from contentgen.rpcs import METHODS, path_of
from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_worker import LEASE, ScriptedWorker, hello
from tests.harness.waiting import PATIENCE_S

NAMES = {method.name: name for name, method in METHODS.items()}
"""The name as `TaskService/SubmitTask` of each RPC, by its own: no two have the same."""


def request_of(rpc: str, fields: Mapping[str, Any]) -> Message:
    """The RPC's request, of these fields in their JSON form."""
    return json_format.ParseDict(dict(fields), GetMessageClass(METHODS[NAMES[rpc]].input_type)())


async def send(channel: aio.Channel, rpc: str, data: bytes) -> dict[str, Any]:
    """The answer to these bytes, or the first of a stream of answers, as `whole` shows it. Raises AioRpcError."""
    method = METHODS[NAMES[rpc]]
    kind: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    answer_class = GetMessageClass(method.output_type)
    call = kind(path_of(NAMES[rpc]), response_deserializer=answer_class.FromString)(data, timeout=PATIENCE_S)
    try:
        return whole(await (call.read() if method.server_streaming else call))
    finally:
        call.cancel()


class LeaseStream:
    """One call of Lease; its messages are plain dicts."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def write(self, **fields: Any) -> None:
        await self.write_bytes(request_of("Lease", fields).SerializeToString())

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


@asynccontextmanager
async def lease_stream(channel: aio.Channel) -> AsyncIterator[LeaseStream]:
    """A new call, which is cancelled at the end of the block."""
    begin: Any = channel.stream_stream(LEASE, response_deserializer=pb.LeaseResponse.FromString)
    call = begin()
    try:
        yield LeaseStream(call)
    finally:
        call.cancel()


def whole(message: Message) -> dict[str, Any]:
    """A message in its JSON form, with fields at their default, but without unset fields with presence."""
    fields: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


# A worker that brings a test's tasks, named by their ids, into a state.


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
