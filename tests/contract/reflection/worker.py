"""A worker that brings a test's tasks, named by their ids, into a state. It speaks by the stubs, not by reflection."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from google.protobuf.duration_pb2 import Duration
from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.lease_stream import hello
from tests.harness.scripted_worker import ScriptedWorker

COMMITTED = pb.UPDATE_OUTCOME_COMMITTED
_numbers = itertools.count(1)


def identity() -> dict[str, Any]:
    """What a hello requires, of a worker that is no other test's."""
    number = next(_numbers)
    return {"worker_id": f"w{number}", "folder_id": f"f{number}", "session_number": 1, "slots": 3}


class Worker:
    """One session, which begins when it is first needed, and ends with the block."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stream = ScriptedWorker(channel, hello(**identity()))
        self._session = AsyncExitStack()
        self._connected = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.aclose()

    @property
    def worker_id(self) -> str:
        return self._stream.hello.worker_id

    async def connect(self) -> None:
        if not self._connected:
            await self._session.enter_async_context(self._stream)
            self._connected = True

    async def take(self, task_id: str) -> None:
        """Takes tasks until it has this one; it keeps the others."""
        await self.connect()
        while task_id not in self._leases:
            await self._stream.take()

    async def start(self, task_id: str) -> None:
        await self.take(task_id)
        await self._report(task_id, processing=pb.Processing())

    async def complete(self, task_id: str, **result: Any) -> None:
        assert await self._stream.complete(self._leases[task_id], **result) == COMMITTED

    async def upload(self, task_id: str, data: bytes) -> None:
        await self._stream.upload(self._leases[task_id], data)

    async def fail(self, task_id: str, reason: str = "CREATOR_ERROR", output: pb.RunOutput | None = None) -> None:
        assert await self._stream.fail(self._leases[task_id], reason, output=output) == COMMITTED

    async def defer(self, task_id: str) -> None:
        await self._report(task_id, deferred=pb.Deferred(retry_after=Duration(seconds=60)))

    async def give_back(self, task_id: str, reason: str, *, started: bool = False) -> None:
        released = pb.Released(reason=pb.ReleaseReason.Value(f"RELEASE_REASON_{reason}"), started=started)
        await self._report(task_id, released=released)

    async def answer_poll(self) -> None:
        """Waits for a poll, and answers that nothing has changed."""
        await self._stream.polled()
        await self._stream.heartbeat(0)

    @property
    def _leases(self) -> Mapping[str, pb.AssignedLease]:
        return {lease.task.task_id: lease for lease in self._stream.held.values()}

    async def _report(self, task_id: str, **update: Any) -> None:
        assert await self._stream.report(self._leases[task_id], **update) == COMMITTED
