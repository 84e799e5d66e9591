"""The moves of tasks, over as many WatchTasks streams as it takes. Layer: client, below `watch`."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from contentgen.client.backoff import Backoff
from contentgen.client.errors import RequestError, Unavailable
from contentgen.client.transport import Stream, Transport
from contentgen.v1 import task_service_pb2 as pb

STREAM_TIMEOUT = 300.0
"""Seconds: the deadline of one stream, after which the watch goes on with the next. It bounds what stands still for a
reason that no ping shows."""
CONNECT_TIMEOUT = 30.0
"""Seconds: a stream that lasted longer was connected, for gRPC gives up a connection that takes 20 s."""
# CANCELLED, unless we cancelled it: a server that shuts down says so, and a proxy that resets a stream.
_PASSING = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}
# Without a reason no scheduler says it: a proxy has lost its scheduler, or a time limit of its own is over.
_PASSING_FROM_PROXIES = {"INTERNAL", "UNKNOWN"}
_TAKEN = {"WATCHER_TOO_SLOW", "WATCH_OVERRUN", "CHANGES_DELAYED"}
"""Reasons for which a scheduler ends a watch that it had taken."""
_PASSING_REASONS = {*_TAKEN, "TOO_MANY_WATCHERS"}

Events = Stream[pb.WatchTasksResponse]
T = TypeVar("T")


class ResumingStream:
    """Reconnects by itself, and goes on after the last change, until it is closed.

    Attributes:
        resume_token: of the last change; before the first, as it was given.
    """

    def __init__(self, transport: Transport, request: pb.WatchTasksRequest, backoff: Backoff) -> None:
        """Connects at the first change.

        Args:
            transport: what the streams are opened on.
            request: what to watch, and the resume token to begin after; empty: with the present state.
            backoff: when to try again.
        """
        self.resume_token = request.resume_token
        self._transport = transport
        self._request = request
        self._backoff = backoff
        self._lock = threading.Lock()
        self._closed = transport.signal()
        self._stream: Events | None = None
        self._since = 0.0

    def close(self) -> None:
        """Ends the stream, and the iteration of whoever waits for a change. Idempotent."""
        with self._lock:
            self._closed.set()
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    async def connect(self) -> None:
        """Returns once a scheduler has taken the watch: no move after that is missed. Raises what `next` does."""
        await self._from_streams(lambda stream: stream.connected())

    async def next(self) -> pb.TaskChange | None:
        """The next change, however long it takes; None once closed.

        Raises:
            RequestError: what a new stream does not solve; it is closed then.
        """
        answer = await self._from_streams(lambda stream: stream.read())
        if answer is None:
            return None
        self._backoff.reset()
        self.resume_token = answer.event.resume_token
        return answer.event

    async def _from_streams(self, step: Callable[[Events], Awaitable[T | None]]) -> T | None:
        """Returns what `step` finds in a stream, or in the next one if it ends. Returns None once closed."""
        while (stream := self._current()) is not None:
            try:
                result = await step(stream)
            except RequestError as error:
                await self._again(error)
            except BaseException:  # the reader was interrupted, and what it was given may be lost with it
                self._drop(stream)
                raise
            else:
                if result is not None:
                    return result
                await self._again(Unavailable("the stream was ended again and again"))
        return None

    def _current(self) -> Events | None:
        """Returns the stream to read from. Returns None once closed."""
        with self._lock:
            if self._closed.is_set():
                return None
            if self._stream is None:
                self._stream = self._open()
                self._since = time.monotonic()
            return self._stream

    def _open(self) -> Events:
        request = pb.WatchTasksRequest()
        request.CopyFrom(self._request)  # asyncio's stream may still read the one that it was given
        request.resume_token = self.resume_token
        return self._transport.stream(self._transport.stubs.tasks.WatchTasks, request, timeout=STREAM_TIMEOUT)

    def _drop(self, stream: Events) -> None:
        stream.cancel()
        with self._lock:
            self._stream = None

    async def _again(self, error: RequestError) -> None:
        """Waits before the next stream; raises what no new stream solves."""
        if self._closed.is_set():
            return
        if time.monotonic() - self._since > CONNECT_TIMEOUT:
            self._backoff.reset()
        if error.reason in _TAKEN:
            self._backoff.connected()
        pause = self._backoff.pause() if self._passes(error) else None
        if pause is None:
            self.close()
            raise error
        with self._lock:
            self._stream = None
        await self._closed.wait(pause)

    def _passes(self, error: RequestError) -> bool:
        """Returns whether to go on after `error`; moves to the token that it names."""
        if error.reason in _TAKEN:
            self.resume_token = error.metadata.get("resume_token") or self.resume_token
        if not error.reason and error.code in _PASSING_FROM_PROXIES:
            return True
        return error.code in _PASSING or error.reason in _PASSING_REASONS
