"""Callers with tokens: a tokens file, and calls of any RPC that the descriptors know, by name and with plain fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from contentgen.rpcs import METHODS
from scheduler_svc.config.tokens import hash_of

PATIENCE_S = 15


def line(name: str, role: str, accounts: Sequence[int] | None = None, token: str = "") -> str:
    """A line of a tokens file; the default token is `NAME-token`."""
    entry = {"name": name, "sha256": hash_of(token or f"{name}-token"), "role": role}
    return json.dumps(entry if accounts is None else {**entry, "accounts": list(accounts)})


def write(path: Path, *lines: str) -> Path:
    """Replaces a tokens file atomically with these lines."""
    new = path.with_suffix(".new")
    new.write_text("".join(f"{text}\n" for text in lines))
    return new.replace(path)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


class Caller:
    """Calls with one token, or with none."""

    def __init__(self, channel: aio.Channel, token: str = "") -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    async def __call__(self, rpc: str, **fields: Any) -> dict[str, Any]:
        """The answer, or the first one of a stream. Raises AioRpcError."""
        method = METHODS[rpc]
        request = json_format.ParseDict(fields, GetMessageClass(method.input_type)())
        path = f"/{method.containing_service.full_name}/{method.name}"
        # The request goes out with the call, also where the server would take more: one that it refuses at once is then
        # told why, while a message that is written to a call that is over makes gRPC tell of an error of its own.
        call = self._channel.unary_stream(
            path,
            request_serializer=_bytes,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )(request, timeout=PATIENCE_S, metadata=self._metadata)
        async with asyncio.timeout(PATIENCE_S):
            response: Any = await call.read()
        if response is aio.EOF:
            raise aio.AioRpcError(
                await call.code(),
                await call.initial_metadata(),
                await call.trailing_metadata(),
                await call.details(),
            )
        call.cancel()
        answer: dict[str, Any] = json_format.MessageToDict(response, preserving_proto_field_name=True)
        return answer
