"""The moves of tasks as a blocking iterator of messages, for code that calls the stubs itself. Layer: client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import grpc

from contentgen.client import blocking, resuming
from contentgen.client.backoff import Backoff
from contentgen.client.errors import NAMED, RequestError
from contentgen.client.resuming import ResumingStream
from contentgen.client.transport import run
from contentgen.v1 import task_service_pb2 as pb

STREAM_LIMIT = resuming.STREAM_TIMEOUT
EventStream = blocking.EventStream[pb.WatchTasksResponse]


class Changes:
    """Reconnects by itself, and goes on after the last change, until it is closed."""

    def __init__(self, opened: Callable[[str], EventStream], backoff: Backoff, resume_token: str = "") -> None:
        """Connects at the first change; `opened` begins a stream after a resume token."""
        self._stream = ResumingStream(
            lambda token: blocking.BlockingStream(opened(token)), backoff, blocking.BlockingSignal(), resume_token
        )

    def close(self) -> None:
        self._stream.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pb.TaskChange:
        """The next change. Raises the exceptions of `raised_for`."""
        try:
            change = run(self._stream.next())
        except RequestError as error:
            if isinstance(error, NAMED) or not isinstance(error.__cause__, grpc.RpcError):
                raise
            raise error.__cause__ from None
        if change is None:
            raise StopIteration
        return change
