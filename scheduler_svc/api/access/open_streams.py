"""Streams that go on for hours on one token: they end when it is taken away. Part of `api`, inside `auth`.

A unary call is over before that matters.
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

Key = TypeVar("Key")
Context = aio.ServicerContext[Any, Any]
Behavior = Callable[..., Any]

_TAKEN_AWAY = rpc_status.to_status(status_of(TokenInvalid("the token of this stream was taken away")))


class OpenStreams(Generic[Key]):
    """Which streams are open, each with what it was let in by. Lives on the event loop."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[Any], Key] = {}
        self._ending: set[asyncio.Task[Any]] = set()

    def end(self, gone: Callable[[Key], bool]) -> None:
        """Ends those that were let in by what is gone."""
        for task, key in self._open.items():
            if gone(key) and task not in self._ending:
                self._ending.add(task)
                task.cancel()

    def handler(self, inner: grpc.RpcMethodHandler[Any, Any], key: Key) -> grpc.RpcMethodHandler[Any, Any]:
        """The same handler, whose stream can be ended; that of a unary call as it is."""
        if inner.unary_stream:
            make, behavior = grpc.unary_stream_rpc_method_handler, inner.unary_stream
        elif inner.stream_stream:
            make, behavior = grpc.stream_stream_rpc_method_handler, inner.stream_stream
        else:
            return inner
        kept = self._streaming if inspect.isasyncgenfunction(behavior) else self._writing
        return make(kept(behavior, key), inner.request_deserializer, inner.response_serializer)

    def _writing(self, behavior: Behavior, key: Key) -> Behavior:
        async def write(request: object, context: Context) -> None:
            with self._kept(key) as task:
                try:
                    await behavior(request, context)
                except asyncio.CancelledError:
                    await self._tell(task, context)

        return write

    def _streaming(self, behavior: Behavior, key: Key) -> Behavior:
        async def stream(request: object, context: Context) -> AsyncIterator[object]:
            with self._kept(key) as task:
                try:
                    async with aclosing(behavior(request, context)) as responses:
                        async for response in responses:
                            yield response
                except asyncio.CancelledError:
                    await self._tell(task, context)

        return stream

    async def _tell(self, task: asyncio.Task[Any], context: Context) -> None:
        """Why the stream ends; where it was not ended here, it stays cancelled."""
        if task not in self._ending:
            raise asyncio.CancelledError
        task.uncancel()
        await context.abort_with_status(_TAKEN_AWAY)

    @contextmanager
    def _kept(self, key: Key) -> Iterator[asyncio.Task[Any]]:
        task = asyncio.current_task()
        assert task
        self._open[task] = key
        try:
            yield task
        finally:
            del self._open[task]
            self._ending.discard(task)
