"""The transport of `AsyncContentGenerationClient`: its calls suspend the coroutine, and block nothing.

Layer: client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, cast

import grpc
import grpc.aio

from contentgen.client.errors import RequestError, request_error
from contentgen.client.target import Person, Target
from contentgen.client.transport import CLOSED, Request, Response, Signal, Stream, Stubs, Transport


class AioTransport(Transport):
    """Belongs to the event loop of its first call; all tasks of the loop may share it."""

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        *,
        owned: bool,
        token: str | None,
        timeout: float,
        target: Target | None,
        on_behalf_of: Person | None = None,
    ) -> None:
        """`connect`: called at the first call, on its loop. `owned`: whether `close` closes the channel."""
        super().__init__(token, timeout, target, on_behalf_of=on_behalf_of)
        self._connect = connect
        self._owned = owned
        self._channel: grpc.aio.Channel | None = None
        self._stubs: Stubs | None = None

    @property
    def stubs(self) -> Stubs:
        if self._stubs is None:
            self._check_open()
            self._channel = self._connect()
            self._stubs = Stubs(cast("grpc.Channel", self._channel))
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
        method = cast("grpc.aio.UnaryUnaryMultiCallable[Request, Response]", rpc)
        with _failures(self._target):
            metadata = self._metadata_of(about or request) + self._span()
            return _readable(await method(request, timeout=self.timeout + waits, metadata=metadata))

    def stream(
        self, rpc: grpc.UnaryStreamMultiCallable[Request, Response], request: Request, *, timeout: float
    ) -> Stream[Response]:
        method = cast("grpc.aio.UnaryStreamMultiCallable[Request, Response]", rpc)
        with _failures(self._target):
            call = method(request, timeout=timeout, metadata=self._metadata_of(request))
        return AioStream(call, self._target)

    def signal(self) -> asyncio.Event:
        return asyncio.Event()

    async def pause(self, seconds: float, signal: Signal | None = None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await cast("asyncio.Event", signal or asyncio.Event()).wait()

    async def close(self) -> None:
        """Ends what is under way."""
        self._close_streams()
        if self._owned and self._channel is not None:
            await self._channel.close()


@contextmanager
def _failures(target: Target | None) -> Iterator[None]:
    """Raises what the blocking transport raises."""
    try:
        yield
    except grpc.RpcError as error:
        raise request_error(error, target) from error
    except grpc.aio.UsageError as error:
        raise ValueError(CLOSED) from error
    except grpc.aio.BaseError as error:
        raise RequestError(str(error), code="INTERNAL") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RequestError("the call was closed by the client", code="CANCELLED") from error  # by `close`, not the task


def _readable(answer: Response | None) -> Response:
    """Returns `answer`; grpc.aio has None for one that it can't read."""
    if answer is None:
        raise RequestError("the answer can't be read", code="INTERNAL")
    return answer


class AioStream(Generic[Response]):
    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, Response], target: Target | None) -> None:
        self._call = call
        self._target = target

    def __del__(self) -> None:
        self._call.cancel()  # grpc.aio goes on with a call that nobody has any more

    async def connected(self) -> bool | None:
        with _failures(self._target):
            await self._call.initial_metadata()  # waits for it: a scheduler sends it as soon as it has taken the call
        if not self._call.done():
            return True
        await self.read()  # raises what the stream has ended with
        return None

    async def read(self) -> Response | None:
        with _failures(self._target):
            answer = await self._call.read()
        return None if answer is grpc.aio.EOF else _readable(cast("Response", answer))

    def cancel(self) -> object:
        return self._call.cancel()
