"""`Watch`: the events of tasks as one iterator, over as many streams as it takes.

Layer: client, between the methods and `connection`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Protocol, Self

import grpc
from contentgen.v1 import task_service_pb2 as pb

from scheduler_svc.client import documents
from scheduler_svc.client.documents import Document
from scheduler_svc.client.errors import raised_for, refusal
from scheduler_svc.client.outage import Outage

STREAM_LIMIT = 3_600.0
"""Seconds: the deadline of one stream, after which the watch goes on with the next."""
CONNECT_LIMIT = 30.0
"""Seconds: a stream that lasted longer was connected, for gRPC gives up a connection that takes 20 s."""
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class EventStream(Protocol):
    """One WatchTasks call."""

    def __next__(self) -> pb.WatchTasksResponse: ...
    def cancel(self) -> object: ...


class Watch:
    """An iterator of events that connects again by itself; it ends when it is closed, and with its client.

    Closed by `close`, which any thread may call, or as a context manager. One thread at a time may iterate.

    Attributes:
        resume_token: of the last event; a new watch of the same tasks goes on after it. Empty before the first.
    """

    def __init__(
        self,
        opened: Callable[[str], EventStream],
        outage: Outage,
        *,
        resume_token: str = "",
        until_ended: Collection[str] | None = None,
    ) -> None:
        """Connects at the first event.

        Args:
            opened: starts a stream behind a resume token, or from the present state where that is empty.
            outage: when to try again.
            resume_token: where to begin.
            until_ended: the ids whose tasks all have to end to end the watch; None: it is not ended by them.
        """
        self.resume_token = resume_token
        self._opened = opened
        self._outage = outage
        self._running = None if until_ended is None else set(until_ended)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._stream: EventStream | None = None
        self._since = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream, and the iteration of whoever waits for an event. Does no harm twice."""
        with self._lock:
            self._closed.set()
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Document:
        """The next event, however long it takes.

        Raises:
            StopIteration: the watch is closed, or all tasks that it was to follow have ended.
            Exception: what `ContentGenerationClient.watch` says; the watch is closed then.
        """
        while (stream := self._current()) is not None:
            try:
                return self._event(next(stream).event)
            except StopIteration:  # no scheduler ends a stream like this; what stands between may
                self._again(None)
            except grpc.RpcError as error:
                self._again(error)
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

    def _event(self, change: pb.TaskChange) -> Document:
        self._outage.over()
        self.resume_token = change.resume_token
        if self._running is not None and self._all_ended(self._running, change):
            self.close()
        return documents.task_change(change)

    @staticmethod
    def _all_ended(running: set[str], change: pb.TaskChange) -> bool:
        """Whether this was the last one. A task that was retried after its end runs again."""
        if change.task.HasField("end_time"):
            running.discard(change.task.task_id)
        else:
            running.add(change.task.task_id)
        return not running

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
            return True
        return error.code() in _PASSING
