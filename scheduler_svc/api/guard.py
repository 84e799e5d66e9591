"""The interceptor around every RPC: whatever a handler raises becomes a status. Part of `api`.

Bytes that are no message are INVALID_ARGUMENT, domain errors go by `errors.TABLE`, and anything else is a defect: it is
logged with its traceback, and the caller learns no more than INTERNAL. A cancelled call stays cancelled.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Never, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from scheduler_svc.api.errors import UNDECODABLE, internal_status, status_of
from scheduler_svc.api.in_flight import InFlight
from scheduler_svc.domain.errors import DomainError

Request = TypeVar("Request")
Response = TypeVar("Response")
Context = aio.ServicerContext[Any, Any]
Behavior = Callable[..., Any]
Decode = Callable[[bytes], Any]

log = structlog.get_logger(__name__)


class Guard(aio.ServerInterceptor):
    """Takes asynchronous handlers of all four shapes. Each is wrapped once, at its first call."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Request, Response] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Request, Response] | None:
        """The method's handler, guarded; None, as gRPC gives it, where there is none."""
        method = handler_call_details.method
        if method not in self._guarded:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._guarded[method] = _guarded(handler, method, self._in_flight)
        return self._guarded[method]


def _guarded(
    handler: grpc.RpcMethodHandler[Any, Any], method: str, in_flight: InFlight
) -> grpc.RpcMethodHandler[Any, Any]:
    decode: Decode = handler.request_deserializer or bytes
    encode = handler.response_serializer
    around = _Around(method, in_flight)
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(around.answering(handler.unary_unary), _marking(decode), encode)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(around.streaming(handler.unary_stream), _marking(decode), encode)
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(around.answering(handler.stream_unary), _raising(decode), encode)
    assert handler.stream_stream
    return grpc.stream_stream_rpc_method_handler(around.streaming(handler.stream_stream), _raising(decode), encode)


class _Undecodable:
    """Stands for a single request that could not be read: gRPC reads it where no status can be given yet."""


def _marking(decode: Decode) -> Decode:
    def decode_or_mark(data: bytes) -> object:
        try:
            return decode(data)
        except DecodeError:
            return _Undecodable()

    return decode_or_mark


def _raising(decode: Decode) -> Decode:
    """For request streams: their messages are read, and so the error is raised, within the handler."""

    def decode_or_raise(data: bytes) -> object:
        try:
            return decode(data)
        except DecodeError:
            raise UNDECODABLE from None

    return decode_or_raise


@dataclass(frozen=True, slots=True)
class _Around:
    """What is put around each handler of a method."""

    method: str
    in_flight: InFlight

    def answering(self, behavior: Behavior) -> Behavior:
        async def answer(request: object, context: Context) -> object:
            try:
                with self.in_flight.call():
                    return await behavior(_decoded(request), context)
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
                await _refuse(error, self.method, context)

        return answer

    def streaming(self, behavior: Behavior) -> Behavior:
        if not inspect.isasyncgenfunction(behavior):
            return self.answering(behavior)  # it writes to the context by itself

        async def stream(request: object, context: Context) -> AsyncIterator[object]:
            try:
                with self.in_flight.call():
                    async with aclosing(behavior(_decoded(request), context)) as responses:
                        async for response in responses:
                            yield response
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
                await _refuse(error, self.method, context)

        return stream


def _decoded(request: object) -> object:
    if isinstance(request, _Undecodable):
        raise UNDECODABLE
    return request


async def _refuse(error: Exception, method: str, context: Context) -> Never:
    if isinstance(error, aio.AbortError):
        raise error
    if isinstance(error, DomainError):
        status = status_of(error)
    else:
        log.error("an RPC failed by a defect", action="rpc", method=method, exc_info=error)
        status = internal_status()
    await context.abort_with_status(rpc_status.to_status(status))
