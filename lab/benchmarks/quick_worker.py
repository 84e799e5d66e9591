"""A worker's session that costs little: it completes leases at once, and sends heartbeats by itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Self

from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_worker import LeaseStream, hello

MAX_SLOTS = 1_000
"""What a hello may name; a queue ahead of the slots may be longer."""
OPTIONS = [("grpc.max_receive_message_length", 4 * 1024 * 1024), ("grpc.use_local_subchannel_pool", 1)]


class QuickWorker(LeaseStream):
    """One session on a connection of its own. Leaving it drops the connection."""

    def __init__(self, target: str, worker_id: str, depth: int) -> None:
        """`depth`: leases that it holds at most, queued or running."""
        greeting = hello(
            worker_id=worker_id,
            folder_id=uuid.uuid4().hex,
            process_id=uuid.uuid4().hex,
            hostname="benchmark",
            version="0",
            slots=min(depth, MAX_SLOTS),
        )
        super().__init__(aio.insecure_channel(target, options=OPTIONS), greeting)
        self._target = target
        self._depth = depth
        self._outgoing: asyncio.Queue[pb.LeaseRequest] = asyncio.Queue()
        self._reported: dict[int, Sequence[pb.AssignedLease]] = {}
        self._offered = 0
        self._leaving = False
        self._answered = 0

    def again(self) -> QuickWorker:
        """Returns the same worker's next session."""
        following = QuickWorker(self._target, self.hello.worker_id, self._depth)
        following.hello.CopyFrom(self.hello)
        following.hello.session_number += 1
        return following

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._writer = asyncio.create_task(self._write())
        self._heart = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in (self._writer, self._heart):
            task.cancel()
        await asyncio.gather(self._writer, self._heart, return_exceptions=True)
        await super().__aexit__(*error)
        await self._channel.close()

    async def _write(self) -> None:
        while True:
            await self.write(await self._outgoing.get())

    async def _beat(self) -> None:
        interval = self.welcome.heartbeat_interval.ToTimedelta().total_seconds()
        while True:
            self.heartbeat()
            await asyncio.sleep(interval)

    async def messages(self) -> AsyncIterator[pb.LeaseResponse]:
        """Yields the scheduler's messages; holds what they assign."""
        while True:
            message = await self.next()
            if message.HasField("assignment"):
                self.hold(message.assignment)
                self._offered -= len(message.assignment.leases)
            yield message

    def complete(self, leases: Sequence[pb.AssignedLease], result: pb.Result) -> None:
        """Reports each as accepted, processing and completed, all in one message."""
        request = self.next_report()
        for lease in leases:
            key = {"lease_id": lease.lease_id, "attempt": lease.attempt}
            request.report.updates.add(**key, accepted=pb.Accepted())
            request.report.updates.add(**key, processing=pb.Processing())
            request.report.updates.add(**key, completed=pb.Completed(result=result))
        self._reported[request.report.number] = leases
        self._outgoing.put_nowait(request)

    def acknowledged(self, acknowledgement: pb.Acknowledgement) -> int:
        """Returns how many leases this ended. Offers capacity again once a quarter more is free than was offered."""
        if not acknowledgement.report_number:
            self._answered = acknowledgement.heartbeat_number
            return 0
        leases = self._reported.pop(acknowledgement.report_number)
        assert all(outcome.outcome == pb.UPDATE_OUTCOME_COMMITTED for outcome in acknowledgement.results), (
            "a lease was lost"
        )
        for lease in leases:
            del self.held[lease.lease_id]
        if self._depth - len(self.held) - self._offered >= self._depth // 4:
            self.heartbeat()
        return len(leases)

    def leave(self) -> None:
        """Takes no more, so that it has `left` once all that it holds is acknowledged."""
        self._leaving = True
        self.heartbeat()

    @property
    def left(self) -> bool:
        return self._leaving and not self.held and self._answered == self._heartbeats

    def heartbeat(self) -> None:
        """Sends its capacity and what it holds."""
        self._offered = 0 if self._leaving else self._depth - len(self.held)
        self._outgoing.put_nowait(self.next_heartbeat(self._offered, pb.LEASE_STAGE_FINISHED))
