"""The worker's end of WorkerService.Lease, as small as it can be: it takes leases and completes them at once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Self

from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub

MAX_SLOTS = 1_000
"""What a hello may name; a queue ahead of the slots may be longer."""
OPTIONS = [("grpc.max_receive_message_length", 4 * 1024 * 1024), ("grpc.use_local_subchannel_pool", 1)]


class LeaseStream:
    """One session. Entering it says hello and takes the welcome; leaving it drops the connection."""

    def __init__(self, target: str, worker_id: str, depth: int) -> None:
        """`depth`: leases that it holds at most, queued or running."""
        self._target = target
        self._hello = pb.Hello(
            worker_id=worker_id,
            folder_id=uuid.uuid4().hex,
            session_number=1,
            process_id=uuid.uuid4().hex,
            hostname="benchmark",
            version="0",
            slots=min(depth, MAX_SLOTS),
        )
        self._depth = depth
        self._outgoing: asyncio.Queue[pb.LeaseRequest] = asyncio.Queue()
        self._held: dict[str, pb.HeldLease] = {}
        self._reported: dict[int, Sequence[pb.AssignedLease]] = {}
        self._states = self._last_assignment = 0
        self._room_told = 0
        self.heartbeat_interval = 0.0

    async def __aenter__(self) -> Self:
        self._channel = aio.insecure_channel(self._target, options=OPTIONS)
        self._call = WorkerServiceStub(self._channel).Lease()
        await self._call.write(pb.LeaseRequest(hello=self._hello))
        welcome = await self._call.read()
        assert isinstance(welcome, pb.LeaseResponse), "a stream that ends before its welcome raises"
        self.heartbeat_interval = welcome.welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self._writer = asyncio.create_task(self._write())
        self._heart = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._writer, self._heart):
            task.cancel()
        await asyncio.gather(self._writer, self._heart, return_exceptions=True)
        self._call.cancel()
        await self._channel.close()

    async def _write(self) -> None:
        while True:
            await self._call.write(await self._outgoing.get())

    async def _beat(self) -> None:
        while True:
            self.state()
            await asyncio.sleep(self.heartbeat_interval)

    async def messages(self) -> AsyncIterator[pb.LeaseResponse]:
        """What the scheduler says; assignments and acknowledgements are noted on the way."""
        while isinstance(message := await self._call.read(), pb.LeaseResponse):
            if message.HasField("assignment"):
                self._note_assignment(message.assignment)
            yield message

    def _note_assignment(self, assignment: pb.Assignment) -> None:
        self._last_assignment = assignment.number
        self._room_told -= len(assignment.leases)
        for lease in assignment.leases:
            self._held[lease.lease_id] = pb.HeldLease(
                lease_id=lease.lease_id, attempt=lease.attempt, stage=pb.LEASE_STAGE_FINISHED
            )

    def complete(self, leases: Sequence[pb.AssignedLease], result: pb.Result) -> None:
        """Reports each as accepted, processing and completed, all in one message."""
        number = len(self._reported) + 1
        report = pb.Report(number=number)
        for lease in leases:
            named = {"lease_id": lease.lease_id, "attempt": lease.attempt}
            report.updates.add(**named, accepted=pb.Accepted())
            report.updates.add(**named, processing=pb.Processing())
            report.updates.add(**named, completed=pb.Completed(result=result))
        self._reported[number] = leases
        self._outgoing.put_nowait(pb.LeaseRequest(report=report))

    def acknowledged(self, acknowledgement: pb.Acknowledgement) -> int:
        """How many leases this ended; states that there is room again once a quarter more is free than was told."""
        if not acknowledgement.report_number:
            return 0
        leases = self._reported[acknowledgement.report_number]
        self._reported[acknowledgement.report_number] = ()
        assert all(it.outcome == pb.UPDATE_OUTCOME_COMMITTED for it in acknowledgement.results), "a lease was lost"
        for lease in leases:
            del self._held[lease.lease_id]
        if self._depth - len(self._held) - self._room_told >= self._depth // 4:
            self.state()
        return len(leases)

    def state(self) -> None:
        """Says what it would take and what it holds."""
        self._states += 1
        self._room_told = self._depth - len(self._held)
        state = pb.Heartbeat(
            number=self._states,
            free_slots=self._room_told,
            held_leases=self._held.values(),
            last_assignment=self._last_assignment,
        )
        self._outgoing.put_nowait(pb.LeaseRequest(heartbeat=state))
