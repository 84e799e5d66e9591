"""The interceptor of every RPC: turns the errors of handlers into statuses, and keeps track of the calls in flight.

Bytes that are not a message become INVALID_ARGUMENT, and domain errors the statuses that they name. Any
other error is a defect: it is logged with its traceback, and the client gets INTERNAL. A cancelled call stays so.

It also counts and measures calls, limits the time that a message may take, keeps calls to the accounts that their
requests name, and has them recorded. For that every call is, to gRPC, one with a stream of requests: its handler starts
when the headers arrive, and can refuse the call before the message. One timer serves all calls: `asyncio.timeout` costs
a call as much as reading its message.

gRPC's own shutdown ends calls that no handler has started with CANCELLED, which clients do not retry; `InFlight` ends
them with UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Never

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from contentgen.rpcs import RPCS, path_of
from scheduler_svc.domain.errors import DomainError, RequestTooSlow, ShuttingDown
from scheduler_svc.metrics import Metrics, RpcMetrics
from scheduler_svc.runtime.access import (
    OPEN,
    STALE,
    Behavior,
    Callers,
    Context,
    Continuation,
    Handler,
    Limits,
    allow_stale,
    caller,
    narrow,
)
from scheduler_svc.runtime.auditing import Auditor
from scheduler_svc.runtime.errors import (
    internal_status,
    missing_message,
    status_of,
    undecodable_message,
)

_SUBMITTING = frozenset(path_of(name) for name, rpc in RPCS.items() if rpc.submits)
CANCEL_TIMEOUT = 1.0
"""Seconds that cancelled calls have to send their status."""


class InFlight:
    """Tracks the calls. Runs on the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._ending = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Tracks the handler of one call, on gRPC's task for it. Raises ShuttingDown."""
        if self._ending:
            raise ShuttingDown
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)  # gRPC's task sends the response too
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cancelled:
                raise
            task.uncancel()
            raise ShuttingDown from None

    async def end(self, grace: float) -> None:
        """Refuses new calls, cancels those in flight after `grace` seconds, and returns once they have ended."""
        self._ending = True
        if not await self._ended(grace):
            self._cancelled |= self._tasks
            for task in self._cancelled:
                task.cancel()
            await self._ended(CANCEL_TIMEOUT)

    async def _ended(self, seconds: float) -> bool:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not self._tasks


async def send_headers(sending: Coroutine[Any, Any, None]) -> None:
    """Awaits `sending`, a coroutine that sends a call's headers. If cancelled, it ends first: gRPC can send no status
    while it sends headers.
    """
    task = asyncio.ensure_future(sending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


class ReadTimeout:
    """Cancels reads that take longer than `seconds`. Runs on the event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[Any], float] = {}  # the oldest first
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, message: Awaitable[object]) -> object:
        """Returns the message. Raises RequestTooSlow."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task
        self._since[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._expire)
        try:
            return await message
        except asyncio.CancelledError:
            if task in self._expired and not task.uncancel():
                raise RequestTooSlow(self._seconds) from None
            raise
        finally:
            del self._since[task]
            self._expired.discard(task)

    def end(self, task: asyncio.Task[Any]) -> None:
        """Cancels a task: its read, if it is in one, as if its time were over."""
        if task in self._since:
            self._expired.add(task)
        task.cancel()

    def _expire(self) -> None:
        """Cancels the reads that are too old, and sets the timer for the oldest of the others."""
        self._timer = None
        loop = asyncio.get_running_loop()
        for task, since in self._since.items():
            if since + self._seconds > loop.time():
                self._timer = loop.call_at(since + self._seconds, self._expire)
                return
            if task not in self._expired:
                self.end(task)


Decode = Callable[[bytes], Any]
Read = Callable[[Any, Context, asyncio.Semaphore], Awaitable[object]]

log = structlog.get_logger(__name__)


class ErrorInterceptor(aio.ServerInterceptor):
    """Wraps asynchronous handlers of all four shapes, each at its first call."""

    def __init__(
        self,
        in_flight: InFlight,
        limits: Limits | None = None,
        auditor: Auditor | None = None,
        metrics: Metrics | None = None,
        may_submit: Callable[[], None] = lambda: None,
    ) -> None:
        """`auditor` None: no call is recorded. `metrics` None: none is measured. `may_submit` raises what refuses those
        that submit.
        """
        limits = limits or Limits()
        self._in_flight = in_flight
        self._auditor = auditor
        self._metrics = metrics
        self._may_submit = may_submit
        self._timeout = ReadTimeout(limits.message_timeout)
        self._open_timeout = ReadTimeout(limits.open_message_timeout)
        self._callers = Callers(limits, self._open_timeout.end)
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Returns the method's wrapped handler, or None if the method is unknown."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Handler, method: str) -> Handler:
        behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        assert behavior
        timeout = self._open_timeout if method in OPEN else self._timeout
        read = self._requests if handler.request_streaming else partial(self._request, timeout)
        call = _coroutine(behavior) if inspect.isasyncgenfunction(behavior) else behavior
        deserialize = _checked(handler.request_deserializer or bytes)
        serialize = handler.response_serializer or bytes
        streams = {"requests": handler.request_streaming, "responses": handler.response_streaming}
        measured = self._metrics.rpc(method, **streams) if self._metrics else None
        wrapped = self._with_statuses(call, read, method, measured)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(wrapped, deserialize, _unless_serialized(serialize))
        return grpc.stream_unary_rpc_method_handler(wrapped, deserialize, serialize)

    def _with_statuses(self, call: Behavior, read: Read, method: str, measured: RpcMetrics | None) -> Behavior:
        audited = self._auditor.of(method) if self._auditor else None
        submits, stale = method in _SUBMITTING, method in STALE

        async def run(requests: object, context: Context) -> object:
            request: object = None
            begun = measured.begin() if measured else 0.0
            try:
                with self._in_flight.call():
                    receiving = self._callers.begin(method, context)
                    request = await read(requests, context, receiving)
                    narrow(method, request)
                    if stale:
                        allow_stale(request)
                    if submits:
                        self._may_submit()
                    response = await call(request, context)
            except BaseException as error:
                if measured:
                    measured.end(begun, _code(error))
                if audited:
                    audited.refused(caller(), request, error)
                if not isinstance(error, Exception):
                    raise
                request = None
                await _refuse(error, method, context)
            if audited and (stored := audited.answered(caller(), request, response)):
                await stored
            if measured:
                measured.end(begun, "OK")
            return response

        return run

    async def _request(
        self, reading: ReadTimeout, _requests: object, context: Context, receiving: asyncio.Semaphore
    ) -> object:
        """Returns the one message of a call. Raises RequestTooSlow, InvalidArgument."""
        async with receiving:
            request = await reading.read(context.read())
        if request is aio.EOF:
            raise missing_message()
        return request

    async def _requests(self, requests: object, _context: Context, _receiving: object) -> object:
        return requests


def _coroutine(behavior: Behavior) -> Behavior:
    """Writes what a generator yields. If gRPC did, a call that is cancelled meanwhile would get no status."""

    async def write(request: object, context: Context) -> None:
        async with aclosing(behavior(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write


def _checked(decode: Decode) -> Decode:
    """Raises InvalidArgument within the handler, where the message is read."""

    def decode_or_raise(data: bytes) -> object:
        try:
            return decode(data)
        except DecodeError:
            raise undecodable_message() from None

    return decode_or_raise


def _unless_serialized(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Lets a stream send bytes that are a message already, and may be sent on other streams too."""
    return lambda response: response if isinstance(response, bytes) else serialize(response)


async def _refuse(error: Exception, method: str, context: Context) -> Never:
    if isinstance(error, aio.BaseError):  # the call has its status already, the client is gone, or the server stops
        raise error
    if isinstance(error, DomainError):
        status = status_of(error)
    else:
        log.error("an RPC failed because of a defect", action="rpc", method=method, exc_info=error)
        status = internal_status()
    # Frees the request, which the tracebacks hold until the next garbage collection.
    error.__traceback__ = error.__context__ = error.__cause__ = None
    await context.abort_with_status(rpc_status.to_status(status))


def _code(error: BaseException) -> str:
    """Returns the name of the status with which a call ends."""
    if isinstance(error, DomainError):
        return error.code
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    return "UNKNOWN" if isinstance(error, aio.BaseError) else "INTERNAL"
