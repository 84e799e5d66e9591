"""A watcher over gRPC that is read event by event, and movers that move tasks by SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import psycopg2
from grpc import aio

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.runtime.signals import CommitSignals
from tests.harness.client import status_name
from tests.harness.cluster import rows_of
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S


class Watcher:
    def __init__(self, call: aio.UnaryStreamCall[pb.WatchTasksRequest, pb.WatchTasksResponse]) -> None:
        self._call = call

    async def stands(self) -> None:
        """Waits until the watch is accepted: later events are not missed. Raises AioRpcError if it is refused."""
        async with asyncio.timeout(PATIENCE_S):
            await self._call.initial_metadata()

    async def next(self) -> pb.TaskChange:
        """Returns the next event. Raises AioRpcError if the stream ends."""
        async with asyncio.timeout(PATIENCE_S):
            response = await self._call.read()
        assert isinstance(response, pb.WatchTasksResponse), "a watch never ends well"
        assert response.event.resume_token
        return response.event

    async def take(self, count: int) -> list[pb.TaskChange]:
        return [await self.next() for _ in range(count)]


@asynccontextmanager
async def watching(tasks: TaskServiceAsyncStub, **request: Any) -> AsyncIterator[Watcher]:
    """Yields a watch; its stream is cancelled at the end."""
    call = tasks.WatchTasks(pb.WatchTasksRequest(**request))
    try:
        yield Watcher(call)
    finally:
        call.cancel()


async def first_event(tasks: TaskServiceAsyncStub, **request: Any) -> pb.TaskChange:
    """Returns the first event of a watch, which ends then."""
    async with watching(tasks, **request) as watcher:
        return await watcher.next()


def moves_of(events: Iterable[pb.TaskChange]) -> list[tuple[str, str, str]]:
    """Task, previous status (unspecified if there was none) and status of each event, abbreviated."""
    return [
        (event.task.task_id, status_name(event.previous_status), status_name(event.task.status)) for event in events
    ]


_MOVE = """
    INSERT INTO task_events (task_key, previous_status, status, attempt, reason)
    SELECT task_key, before, status, %s, reason
    FROM unnest(%s) AS k(task_key), (VALUES (1, 2, 'LEASED'), (2, 1, 'DRAINING')) AS m(before, status, reason)
    ORDER BY task_key, before
"""


class Mover:
    """A separate connection that moves tasks back and forth, in transactions that the test ends.

    Each move to submitted has its own attempt, so that all moves differ.
    """

    def __init__(self, db_url: str) -> None:
        self._connection = psycopg2.connect(db_url.replace("postgresql+psycopg2", "postgresql"))

    def move(self, task_ids: Iterable[str], attempt: int) -> None:
        """Makes two moves of each task, in a transaction that is open until `commit`."""
        keys = [parse_task_id(task_id) for task_id in task_ids]
        self.sql("SELECT FROM tasks WHERE task_key = ANY(%s) ORDER BY task_key FOR UPDATE", keys)
        self.sql(_MOVE, attempt, keys)

    def draw(self) -> None:
        """Begins a transaction that draws a number: no later one is settled before it ends."""
        self.sql("SELECT pg_current_xact_id(), nextval('event_seq')")

    def sql(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        return rows_of(self._connection, text, *parameters)

    def commit(self) -> None:
        """Commits, and sends the hint that a replica would send."""
        (payload,) = CommitSignals(moved=True).payloads("a mover")
        self.sql("SELECT pg_notify('contentgen', %s)", payload)
        self._connection.commit()

    def roll_back(self) -> None:
        self._connection.rollback()

    def close(self) -> None:
        self._connection.close()
