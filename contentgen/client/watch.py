"""Moves of tasks and output of attempts, for as long as the caller wants them, over as many streams as it takes.

`Watch` and `AsyncWatch` return them as dicts, `ResumingStream` as messages; `Backoff` says how long to wait before the
next stream, and when to give up. Layer: client.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

from contentgen.client.documents import document
from contentgen.client.errors import RequestError, Unavailable
from contentgen.client.transport import Stream, Stubs, Transport, run
from contentgen.v1 import task_service_pb2 as pb

FIRST_CEILING = 0.2
MAX_CEILING = 5.0
"""Seconds: a pause is anything from 0 to a ceiling that doubles (full jitter), so that watchers do not come as one."""
_MAX_DOUBLINGS = 10


class Backoff:
    """The pauses between failures in a row."""

    def __init__(
        self,
        patience: float | None,
        at_first: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Starts without a failure, and without a success.

        Args:
            patience: seconds that failures in a row may last; None: any time.
            at_first: the same before the first success, when the target may be wrong.
            clock: seconds.
            jitter: a number between two.
        """
        self._patience = patience
        self._limit: float | None = at_first if patience is None else min(at_first, patience)
        self._clock = clock
        self._jitter = jitter
        self._since: float | None = None
        self._failures = 0

    def connected(self) -> None:
        """Notes a failure that shows that the target is right."""
        self._limit = self._patience

    def reset(self) -> None:
        """Notes a success."""
        self.connected()
        self._since = None
        self._failures = 0

    def pause(self) -> float | None:
        """Notes a failure; returns the seconds to wait before the next attempt, or None if it is time to give up."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if self._limit is not None and now - self._since >= self._limit:
            return None
        ceiling = min(FIRST_CEILING * 2 ** min(self._failures, _MAX_DOUBLINGS), MAX_CEILING)
        self._failures += 1
        return self._jitter(0, ceiling)


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

T = TypeVar("T")
Item = TypeVar("Item", bound=pb.TaskChange | pb.TailAttemptResponse)


class ResumingStream(Generic[Item]):
    """Reconnects by itself, and goes on after the last item, until it is closed.

    Attributes:
        resume_token: of the last item; before the first, as it was given.
    """

    def __init__(
        self,
        transport: Transport,
        rpc: Callable[[Stubs], Any],
        request: Any,
        backoff: Backoff,
        *,
        item_of: Callable[[Any], Item],
        is_last: Callable[[Item], bool] = lambda _: False,
        ends: bool = False,
    ) -> None:
        """Connects at the first item.

        Args:
            transport: what the streams are opened on.
            rpc: which of its calls they are.
            request: what to read, and the resume token to begin after; empty: from the beginning.
            backoff: when to try again.
            item_of: returns the item of an answer.
            is_last: returns whether an item closes it.
            ends: whether a stream that ends well closes it.
        """
        self.resume_token: str = request.resume_token
        self._transport = transport
        self._rpc = rpc
        self._request = request
        self._backoff = backoff
        self._item_of = item_of
        self._is_last = is_last
        self._ends = ends
        self._lock = threading.Lock()
        self._closed = transport.signal()
        self._stream: Stream[Any] | None = None
        self._since = 0.0

    def close(self) -> None:
        """Ends the stream, and the iteration of whoever waits for a change. Idempotent."""
        with self._lock:
            self._closed.set()
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    async def connect(self) -> None:
        """Returns once a scheduler has taken the call: nothing after that is missed. Raises what `next` does."""
        if await self._from_streams(lambda stream: stream.connected()):
            self._backoff.reset()

    async def next(self) -> Item | None:
        """Returns the next item, however long it takes; None once closed, or once nothing can follow.

        Raises:
            RequestError: what a new stream does not solve; it is closed then.
        """
        answer = await self._from_streams(lambda stream: stream.read())
        if answer is None:
            return None
        self._backoff.reset()
        item = self._item_of(answer)
        self.resume_token = item.resume_token
        if self._is_last(item):
            self.close()
        return item

    async def _from_streams(self, step: Callable[[Stream[Any]], Awaitable[T | None]]) -> T | None:
        """Returns what `step` finds in a stream, or in the next one if it ends. Returns None once closed."""
        while (stream := self._current()) is not None:
            try:
                result = await step(stream)
            except RequestError as error:
                await self._again(error)
            except BaseException:  # the reader was interrupted, and what it was given may be lost with it
                stream.cancel()
                with self._lock:
                    self._stream = None
                raise
            else:
                if result is not None:
                    return result
                if self._ends:
                    self.close()
                    return None
                await self._again(Unavailable("the stream was ended again and again"))
        return None

    def _current(self) -> Stream[Any] | None:
        """Returns the stream to read from. Returns None once closed."""
        with self._lock:
            if self._closed.is_set():
                return None
            if self._stream is None:
                request = type(self._request)()
                request.CopyFrom(self._request)  # asyncio's stream may still read the one that it was given
                request.resume_token = self.resume_token
                rpc = self._rpc(self._transport.stubs)
                self._stream = self._transport.stream(rpc, request, timeout=STREAM_TIMEOUT)
                self._since = time.monotonic()
            return self._stream

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
        await self._transport.pause(pause, self._closed)

    def _passes(self, error: RequestError) -> bool:
        """Returns whether to go on after `error`; moves to the token that it names."""
        if error.reason in _TAKEN:
            self.resume_token = error.metadata.get("resume_token") or self.resume_token
        if not error.reason and error.code in _PASSING_FROM_PROXIES:
            return True
        return error.code in _PASSING or error.reason in _PASSING_REASONS


def all_ended(running: set[str], change: pb.TaskChange) -> bool:
    """Returns whether this was the last one. A task that was retried after its end runs again."""
    if change.task.HasField("end_time"):
        running.discard(change.task.task_id)
    else:
        running.add(change.task.task_id)
    return not running


class _Watch(Generic[T]):
    def __init__(self, stream: ResumingStream[Any], kind: type[T]) -> None:
        """`kind`: the dicts that it makes of the items."""
        self._stream = stream
        self._kind = kind

    @property
    def resume_token(self) -> str:
        """Of the last event: a new watch of the same goes on after it. Before the first: as it was given."""
        return self._stream.resume_token

    def close(self) -> None:
        """Ends the watch, and the iteration of whoever waits for an event. Idempotent."""
        self._stream.close()


class Watch(_Watch[T]):
    """An iterator of events that reconnects by itself; it ends when it is closed, and with its client.

    Any thread may close it; one thread at a time may iterate. With `with` it is connected at once; without, it connects
    when the first event is asked for.
    """

    def __enter__(self) -> Self:
        """Returns once a scheduler has taken the watch. Raises what iterating does."""
        run(self._stream.connect())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Returns the next event, however long it takes.

        Raises:
            StopIteration: the watch is closed, or nothing can follow: the tasks or the attempt have ended.
            Exception: what the client's method says; the watch is closed then.
        """
        if (item := run(self._stream.next())) is None:
            raise StopIteration
        return document(self._kind, item)


class AsyncWatch(_Watch[T]):
    """An asynchronous iterator of events that reconnects by itself; it ends when it is closed, and with its client.

    One task at a time may iterate; a read that was cancelled loses no event. With `async with` it is connected at once;
    without, it connects when the first event is asked for.
    """

    async def __aenter__(self) -> Self:
        """Returns once a scheduler has taken the watch. Raises what iterating does."""
        await self._stream.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Returns the next event, however long it takes.

        Raises:
            StopAsyncIteration: the watch is closed, or nothing can follow: the tasks or the attempt have ended.
            Exception: what the client's method says; the watch is closed then.
        """
        if (item := await self._stream.next()) is None:
            raise StopAsyncIteration
        return document(self._kind, item)
