"""Calls of RPCs with plain dicts, or with bytes that need be no message."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from contentgen.rpcs import METHODS, path_of
from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_worker import LEASE
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
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


_numbers = itertools.count(1)


def identity() -> dict[str, Any]:
    """What a hello requires, of a worker that is no other test's."""
    number = next(_numbers)
    return {"worker_id": f"w{number}", "folder_id": f"f{number}", "session_number": 1, "slots": 3}
