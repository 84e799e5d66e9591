"""Ends the open streams of a token that is revoked. Part of `api`.

Unary calls are too short to need it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Generic, TypeVar

import grpc
from grpc import aio
from grpc_status import rpc_status

from scheduler_svc.api.messages.errors import status_of
from scheduler_svc.domain.errors import TokenInvalid

Credential = TypeVar("Credential")
Context = aio.ServicerContext[Any, Any]
Behavior = Callable[..., Any]

_TOKEN_REVOKED = rpc_status.to_status(status_of(TokenInvalid("the token of this stream was revoked")))


class OpenStreams(Generic[Credential]):
    """The open streams, each with the credential that it was accepted with. Runs on the event loop."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[Any], Credential] = {}
        self._ending: set[asyncio.Task[Any]] = set()

    def end(self, is_revoked: Callable[[Credential], bool]) -> None:
        """Ends those whose credential is revoked."""
        for task, credential in self._open.items():
            if is_revoked(credential) and task not in self._ending:
                self._ending.add(task)
                task.cancel()

    def handler(
        self, inner: grpc.RpcMethodHandler[Any, Any], credential: Credential
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler as one whose stream can be ended. Returns that of a unary call unchanged."""
        if inner.unary_stream:
            make, behavior = grpc.unary_stream_rpc_method_handler, inner.unary_stream
        elif inner.stream_stream:
            make, behavior = grpc.stream_stream_rpc_method_handler, inner.stream_stream
        else:
            return inner
        wrap = self._generator if inspect.isasyncgenfunction(behavior) else self._coroutine
        return make(wrap(behavior, credential), inner.request_deserializer, inner.response_serializer)

    def _coroutine(self, behavior: Behavior, credential: Credential) -> Behavior:
        async def write(request: object, context: Context) -> None:
            with self._registered(credential) as task:
                try:
                    await behavior(request, context)
                except asyncio.CancelledError:
                    await self._abort(task, context)

        return write

    def _generator(self, behavior: Behavior, credential: Credential) -> Behavior:
        async def stream(request: object, context: Context) -> AsyncIterator[object]:
            with self._registered(credential) as task:
                try:
                    async with aclosing(behavior(request, context)) as responses:
                        async for response in responses:
                            yield response
                except asyncio.CancelledError:
                    await self._abort(task, context)

        return stream

    async def _abort(self, task: asyncio.Task[Any], context: Context) -> None:
        """Sends the status if `end` cancelled the stream; any other stream stays cancelled."""
        if task not in self._ending:
            raise asyncio.CancelledError
        task.uncancel()
        await context.abort_with_status(_TOKEN_REVOKED)

    @contextmanager
    def _registered(self, credential: Credential) -> Iterator[asyncio.Task[Any]]:
        task = asyncio.current_task()
        assert task
        self._open[task] = credential
        try:
            yield task
        finally:
            del self._open[task]
            self._ending.discard(task)
