"""The moves of tasks as one iterator, over as many WatchTasks streams as it takes.

Layer: client, below `watch`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol, Self

import grpc

from contentgen.client.errors import raised_for, refusal
from contentgen.client.outage import Outage
from contentgen.v1 import task_service_pb2 as pb

STREAM_LIMIT = 3_600.0
"""Seconds: the deadline of one stream, after which the watch goes on with the next."""
CONNECT_LIMIT = 30.0
"""Seconds: a stream that lasted longer was connected, for gRPC gives up a connection that takes 20 s."""
# CANCELLED, where it is not us who cancelled: a server that shuts down says so, and a proxy that resets a stream.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
# Without a reason no scheduler says it: a proxy has lost its scheduler, or a time limit of its own is over.
_PASSING_FROM_PROXIES = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_PASSING_REASONS = ("WATCHER_TOO_SLOW", "TOO_MANY_WATCHERS")


class EventStream(Protocol):
    """One WatchTasks call."""

    def __next__(self) -> pb.WatchTasksResponse: ...
    def initial_metadata(self) -> object: ...
    def is_active(self) -> bool: ...
    def code(self) -> grpc.StatusCode: ...
    def cancel(self) -> object: ...


class Changes:
    """Connects again by itself, and goes on after the last change, until it is closed.

    Any thread may close it; one at a time may iterate.

    Attributes:
        resume_token: of the last change; before the first, as it was given.
    """

    def __init__(self, opened: Callable[[str], EventStream], outage: Outage, resume_token: str = "") -> None:
        """Connects at the first change.

        Args:
            opened: starts a stream behind a resume token, or from the present state where that is empty.
            outage: when to try again.
            resume_token: where to begin.
        """
        self.resume_token = resume_token
        self._opened = opened
        self._outage = outage
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._stream: EventStream | None = None
        self._since = 0.0

    def close(self) -> None:
        """Ends the stream, and the iteration of whoever waits for a change. Does no harm twice."""
        with self._lock:
            self._closed.set()
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def connect(self) -> None:
        """Returns once a scheduler has taken the watch: no move after that is missed. Raises what `__next__` does."""
        while (stream := self._current()) is not None:
            stream.initial_metadata()  # waits for it; a scheduler sends it as soon as it watches
            if stream.is_active():
                return
            assert isinstance(stream, grpc.RpcError)  # a stub answers with what it raises
            self._again(None if stream.code() is grpc.StatusCode.OK else stream)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pb.TaskChange:
        """The next change, however long it takes.

        Raises:
            StopIteration: it is closed.
            Exception: what no new stream mends, as the client's exceptions; it is closed then.
        """
        while (stream := self._current()) is not None:
            try:
                change = next(stream).event
            except StopIteration:  # no scheduler ends a stream like this; what stands between may
                self._again(None)
            except grpc.RpcError as error:
                self._again(error)
            else:
                self._outage.over()
                self.resume_token = change.resume_token
                return change
        raise StopIteration

    def _current(self) -> EventStream | None:
        """The stream to read from; None once closed."""
        with self._lock:
            if self._closed.is_set():
                return None
            if self._stream is None:
                self._stream = self._opened(self.resume_token)
                self._since = time.monotonic()
            return self._stream

    def _again(self, error: grpc.RpcError | None) -> None:
        """Waits before the next stream; raises what no new stream mends."""
        if self._closed.is_set():
            return
        if time.monotonic() - self._since > CONNECT_LIMIT:
            self._outage.over()
        pause = self._outage.pause() if error is None or self._passes(error) else None
        if pause is None:
            self.close()
            raise ConnectionError("the stream was ended again and again") if error is None else raised_for(error)
        with self._lock:
            self._stream = None
        self._closed.wait(pause)

    def _passes(self, error: grpc.RpcError) -> bool:
        """Whether to go on after `error`; moves to the token that it names."""
        assert isinstance(error, grpc.Call)  # what a stream raises is both
        told = refusal(error)
        if told.reason == "WATCHER_TOO_SLOW":
            self.resume_token = told.metadata.get("resume_token") or self.resume_token
        if not told.reason and error.code() in _PASSING_FROM_PROXIES:
            return True
        return error.code() in _PASSING or told.reason in _PASSING_REASONS
