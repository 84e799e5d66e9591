"""`Watch` and `AsyncWatch`: the events of tasks as dicts, for as long as the caller wants them. Layer: client."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from contentgen.client.documents import document
from contentgen.client.results import TaskChange
from contentgen.client.resuming import ResumingStream
from contentgen.client.transport import run
from contentgen.v1 import task_service_pb2 as pb


class TaskWatch:
    """What both watches share: events, over as many streams as it takes."""

    def __init__(self, stream: ResumingStream, until_ended: Collection[str] | None = None) -> None:
        """`until_ended`: the ids whose tasks all have to end to end the watch; None: it is not ended by them."""
        self.stream = stream
        self._running = None if until_ended is None else set(until_ended)

    def close(self) -> None:
        self.stream.close()

    async def connect(self) -> None:
        """Returns once a scheduler has taken the watch."""
        await self.stream.connect()

    async def next(self) -> TaskChange | None:
        """The next event; None once the watch is closed or ended."""
        change = await self.stream.next()
        if change is None:
            return None
        if self._running is not None and _all_ended(self._running, change):
            self.close()
        return document(TaskChange, change)


def _all_ended(running: set[str], change: pb.TaskChange) -> bool:
    """Whether this was the last one. A task that was retried after its end runs again."""
    if change.task.HasField("end_time"):
        running.discard(change.task.task_id)
    else:
        running.add(change.task.task_id)
    return not running


class _Watch:
    def __init__(self, shared: TaskWatch) -> None:
        self._shared = shared

    @property
    def resume_token(self) -> str:
        """Of the last event: a new watch of the same tasks goes on after it. Before the first: as it was given."""
        return self._shared.stream.resume_token

    def close(self) -> None:
        """Ends the watch, and the iteration of whoever waits for an event. Idempotent."""
        self._shared.close()


class Watch(_Watch):
    """An iterator of events that reconnects by itself; it ends when it is closed, and with its client.

    Any thread may close it; one thread at a time may iterate. With `with` it is connected at once; without, it connects
    when the first event is asked for.
    """

    def __enter__(self) -> Self:
        """Returns once a scheduler has taken the watch. Raises what iterating does."""
        run(self._shared.connect())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TaskChange:
        """The next event, however long it takes.

        Raises:
            StopIteration: the watch is closed, or all tasks that it was to follow have ended.
            Exception: what the client's `watch` says; the watch is closed then.
        """
        if (event := run(self._shared.next())) is None:
            raise StopIteration
        return event


class AsyncWatch(_Watch):
    """An asynchronous iterator of events that reconnects by itself; it ends when it is closed, and with its client.

    One task at a time may iterate; a read that was cancelled loses no event. With `async with` it is connected at once;
    without, it connects when the first event is asked for.
    """

    async def __aenter__(self) -> Self:
        """Returns once a scheduler has taken the watch. Raises what iterating does."""
        await self._shared.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskChange:
        """The next event, however long it takes.

        Raises:
            StopAsyncIteration: the watch is closed, or all tasks that it was to follow have ended.
            Exception: what the client's `watch` says; the watch is closed then.
        """
        if (event := await self._shared.next()) is None:
            raise StopAsyncIteration
        return event
