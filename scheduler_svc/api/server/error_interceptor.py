"""The interceptor around every RPC: whatever a handler raises becomes a status. Part of `api`.

Bytes that are no message are INVALID_ARGUMENT, domain errors go by `errors.TABLE`, and anything else is a defect: it is
logged with its traceback, and the caller learns no more than INTERNAL. A cancelled call stays cancelled.

It also counts calls and bounds the time that a message may take. To gRPC every call is one with a stream of requests:
so a handler begins with the call's headers, and can refuse it, rather than wait for its message without end.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Never, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from scheduler_svc.api.access.callers import Callers
from scheduler_svc.api.messages.errors import internal_status, no_message, status_of, undecodable
from scheduler_svc.api.server.in_flight import InFlight
from scheduler_svc.api.server.limits import Limits
from scheduler_svc.domain.errors import DomainError, RequestTooSlow

Request = TypeVar("Request")
Response = TypeVar("Response")
Context = aio.ServicerContext[Any, Any]
Behavior = Callable[..., Any]
Decode = Callable[[bytes], Any]
Read = Callable[[Any, Context, asyncio.Semaphore], Awaitable[object]]

log = structlog.get_logger(__name__)


class ErrorInterceptor(aio.ServerInterceptor):
    """Takes asynchronous handlers of all four shapes. Each is wrapped once, at its first call."""

    def __init__(self, in_flight: InFlight, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._in_flight = in_flight
        self._message_within = limits.message_within
        self._callers = Callers(limits)
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
            self._guarded[method] = self._guard(handler, method)
        return self._guarded[method]

    def _guard(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        assert behavior
        read = self._requests if handler.request_streaming else self._request
        answer = _writing(behavior) if inspect.isasyncgenfunction(behavior) else behavior
        responds = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        deserialize = _raising(handler.request_deserializer or bytes)
        return responds(self._answering(answer, read, method), deserialize, handler.response_serializer)

    def _answering(self, answer: Behavior, read: Read, method: str) -> Behavior:
        async def guarded(requests: object, context: Context) -> object:
            try:
                with self._in_flight.call():
                    arriving = self._callers.begin(method, context)
                    return await answer(await read(requests, context, arriving), context)
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
                await _refuse(error, method, context)

        return guarded

    async def _request(self, _requests: object, context: Context, arriving: asyncio.Semaphore) -> object:
        """The one message of a call. Raises RequestTooSlow, InvalidArgument."""
        async with arriving:
            try:
                async with asyncio.timeout(self._message_within):
                    request: object = await context.read()
            except TimeoutError:
                raise RequestTooSlow(self._message_within) from None
        if request is aio.EOF:
            raise no_message()
        return request

    async def _requests(self, requests: object, _context: Context, _arriving: object) -> object:
        return requests


def _writing(behavior: Behavior) -> Behavior:
    """Writes what a generator yields. Were that left to gRPC, a call that is cut off meanwhile would get no status."""

    async def write(request: object, context: Context) -> None:
        async with aclosing(behavior(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write


def _raising(decode: Decode) -> Decode:
    """Bytes that are no message are refused as any bad request is: where they are read, within the handler."""

    def decode_or_raise(data: bytes) -> object:
        try:
            return decode(data)
        except DecodeError:
            raise undecodable() from None

    return decode_or_raise


async def _refuse(error: Exception, method: str, context: Context) -> Never:
    if isinstance(error, aio.BaseError):  # gRPC's own: it is answered already, the caller has gone, the server stops
        raise error
    if isinstance(error, DomainError):
        status = status_of(error)
    else:
        log.error("an RPC failed by a defect", action="rpc", method=method, exc_info=error)
        status = internal_status()
    _forget_where(error)
    await context.abort_with_status(rpc_status.to_status(status))


def _forget_where(error: Exception) -> None:
    """Its tracebacks hold the request, and the call that is aborted by it holds both until the collector comes."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
