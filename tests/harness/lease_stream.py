"""The worker's end of WorkerService.Lease: a stream that numbers what it sends and knows what it holds.

`ScriptedWorker` does on it what a test says, the benchmarks' `QuickWorker` completes each lease at once.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self

from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub

LEASE = "/contentgen.v1.WorkerService/Lease"
ACCEPTED = pb.LEASE_STAGE_ACCEPTED


def hello(**fields: Any) -> pb.Hello:
    """A hello with all required fields, and with `fields`."""
    message = pb.Hello(worker_id="w1", folder_id="f1", session_number=1, hostname="host", slots=3)
    message.MergeFrom(pb.Hello(**fields))
    return message


class LeaseStream:
    """One stream. Entering it sends the hello and reads the welcome; leaving it cancels, as a lost connection would."""

    timeout: float | None = None
    """Seconds that `next` waits."""

    def __init__(self, channel: aio.Channel, greeting: pb.Hello | None = None, token: str = "") -> None:
        self.hello = greeting or hello()
        self.welcome = pb.Welcome()
        self.held: dict[str, pb.AssignedLease] = {}
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._heartbeats = self._reports = self._last_assignment = 0

    async def __aenter__(self) -> Self:
        self._call = WorkerServiceStub(self._channel).Lease(metadata=self._metadata)
        await self.write(pb.LeaseRequest(hello=self.hello))
        self.welcome = (await self.next()).welcome
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def write(self, request: pb.LeaseRequest) -> None:
        await self._call.write(request)

    async def done_writing(self) -> None:
        """Ends the worker's side of the stream."""
        await self._call.done_writing()

    async def next(self) -> pb.LeaseResponse:
        """The next message. Raises AioRpcError if the stream has failed, AssertionError if it has ended well."""
        async with asyncio.timeout(self.timeout):
            response = await self._call.read()
        assert isinstance(response, pb.LeaseResponse), "the stream has ended"
        return response

    def hold(self, assignment: pb.Assignment) -> None:
        """Holds the leases of an assignment, and acknowledges it with the next heartbeat."""
        self._last_assignment = assignment.number
        self.held |= {lease.lease_id: lease for lease in assignment.leases}

    def next_heartbeat(
        self, free_slots: int, stage: pb.LeaseStage.ValueType = ACCEPTED, **fields: Any
    ) -> pb.LeaseRequest:
        """A heartbeat with all held leases."""
        self._heartbeats += 1
        heartbeat = pb.Heartbeat(
            number=self._heartbeats,
            free_slots=free_slots,
            held_leases=[
                pb.HeldLease(lease_id=k, attempt=lease.attempt, stage=stage) for k, lease in self.held.items()
            ],
            last_assignment=self._last_assignment,
            **fields,
        )
        return pb.LeaseRequest(heartbeat=heartbeat)

    def next_report(self, *updates: pb.LeaseUpdate) -> pb.LeaseRequest:
        """A report of these updates."""
        self._reports += 1
        return pb.LeaseRequest(report=pb.Report(number=self._reports, updates=updates))
