"""The transport of `ContentGenerationClient`: its calls block the thread, and its coroutines never suspend.

Layer: client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, cast

import grpc

from contentgen.client.errors import request_error
from contentgen.client.target import Person, Target
from contentgen.client.transport import Metadata, Request, Response, Signal, Stream, Stubs, Transport, current_span


class BlockingTransport(Transport):
    """Any number of threads may share one."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        owned: bool,
        token: str | None,
        timeout: float,
        target: Target | None = None,
        span: Callable[[], Metadata] = current_span,
        on_behalf_of: Person | None = None,
    ) -> None:
        """`owned`: whether `close` closes the channel."""
        super().__init__(token, timeout, target, span, on_behalf_of)
        self._channel = channel
        self._owned = owned
        self._stubs = Stubs(self._channel)

    @property
    def stubs(self) -> Stubs:
        return self._stubs

    async def call(
        self,
        rpc: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        waits: float = 0.0,
        about: Any = None,
    ) -> Response:
        self._check_open()
        try:
            metadata = self._metadata_of(about or request) + self._span()
            return rpc(request, timeout=self.timeout + waits, metadata=metadata)
        except grpc.RpcError as error:
            raise request_error(error, self._target) from error

    def stream(
        self, rpc: grpc.UnaryStreamMultiCallable[Request, Response], request: Request, *, timeout: float
    ) -> Stream[Response]:
        return BlockingStream(rpc(request, timeout=timeout, metadata=self._metadata_of(request)), self._target)

    def signal(self) -> threading.Event:
        return threading.Event()

    async def pause(self, seconds: float, signal: Signal | None = None) -> None:
        cast("threading.Event", signal or threading.Event()).wait(seconds)

    def close(self) -> None:
        """Ends what is under way, in whichever thread."""
        self._close_streams()
        if self._owned:
            self._channel.close()


class BlockingStream(Generic[Response]):
    def __init__(
        self, call: grpc._CallIterator[Response], target: Target | None
    ) -> None:  # that name has its type stub
        self._call = call
        self._target = target

    async def connected(self) -> bool | None:
        self._call.initial_metadata()  # waits for it: a scheduler sends it as soon as it has taken the call
        if self._call.is_active():
            return True
        if self._call.code() is grpc.StatusCode.OK:
            return None
        assert isinstance(self._call, grpc.RpcError)  # what a stub returns for a stream is what it raises
        raise request_error(self._call, self._target) from self._call

    async def read(self) -> Response | None:
        try:
            return next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise request_error(error, self._target) from error

    def cancel(self) -> object:
        return self._call.cancel()
