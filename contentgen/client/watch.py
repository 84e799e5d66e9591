"""`Watch`: the events of tasks as dicts, for as long as the caller wants them. Layer: client."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Self

from contentgen.client import documents
from contentgen.client.changes import Changes
from contentgen.client.documents import Document
from contentgen.v1 import task_service_pb2 as pb


class Watch:
    """An iterator of events that mends interruptions by itself; it ends when it is closed, and with its client.

    Closed by `close`, which any thread may call, or as a context manager. One thread at a time may iterate. Entered
    with `with` it is connected by then; without, it connects when the first event is asked for.
    """

    def __init__(self, changes: Changes, until_ended: Collection[str] | None = None) -> None:
        """`until_ended`: the ids whose tasks all have to end to end the watch; None: it is not ended by them."""
        self._changes = changes
        self._running = None if until_ended is None else set(until_ended)

    def __enter__(self) -> Self:
        """Returns once a scheduler has taken the watch. Raises what iterating does."""
        self._changes.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def resume_token(self) -> str:
        """Of the last event: a new watch of the same tasks goes on after it. Before the first: as it was given."""
        return self._changes.resume_token

    def close(self) -> None:
        """Ends it, and the iteration of whoever waits for an event. Does no harm twice."""
        self._changes.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Document:
        """The next event, however long it takes.

        Raises:
            StopIteration: the watch is closed, or all tasks that it was to follow have ended.
            Exception: what `ContentGenerationClient.watch` says; the watch is closed then.
        """
        change = next(self._changes)
        if self._running is not None and _all_ended(self._running, change):
            self.close()
        return documents.task_change(change)


def _all_ended(running: set[str], change: pb.TaskChange) -> bool:
    """Whether this was the last one. A task that was retried after its end runs again."""
    if change.task.HasField("end_time"):
        running.discard(change.task.task_id)
    else:
        running.add(change.task.task_id)
    return not running
