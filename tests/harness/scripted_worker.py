"""The worker's end of WorkerService.Lease, one message at a time: it does what a test says, right or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from grpc import aio

from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub

PATIENCE_S = 10


def hello(**fields: Any) -> pb.Hello:
    """A hello with all that is required, and with `fields`."""
    made = pb.Hello(worker_id="w1", folder_id="f1", session_number=1, hostname="host", slots=3)
    made.MergeFrom(pb.Hello(**fields))
    return made


class ScriptedWorker:
    """One stream. Entering it says hello; leaving it cancels the stream, as a lost connection would."""

    def __init__(self, channel: aio.Channel, greeting: pb.Hello | None = None, token: str = "") -> None:
        self.hello = greeting or hello()
        self.welcome = pb.Welcome()
        self.held: dict[str, pb.AssignedLease] = {}
        self.last_poll_id = ""
        self.last_error: str | None = None
        """What its states give as the reason why it is unhealthy; None: it is not."""
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._stub = WorkerServiceStub(channel)
        self._states = self._reports = self._assignments = 0

    async def __aenter__(self) -> Self:
        self._call = self._stub.Lease(metadata=self._metadata)
        await self._call.write(pb.LeaseRequest(hello=self.hello))
        self.welcome = (await self.read("welcome")).welcome
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def write(self, request: pb.LeaseRequest) -> None:
        await self._call.write(request)

    async def read(self, kind: str) -> pb.LeaseResponse:
        """The next message of this kind; others before it are passed over. Raises AioRpcError where the stream ends."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                response = await self._call.read()
                assert isinstance(response, pb.LeaseResponse), "the stream has ended"
                if response.WhichOneof("message") == kind:
                    return response

    async def state(
        self, free_slots: int, stage: pb.LeaseStage.ValueType = pb.LEASE_STAGE_ACCEPTED
    ) -> pb.Acknowledgement:
        """States the free slots and all held leases; returns the acknowledgement, and passes over assignments."""
        await self.tell_state(free_slots, stage)
        return (await self.read("acknowledgement")).acknowledgement

    async def tell_state(self, free_slots: int, stage: pb.LeaseStage.ValueType = pb.LEASE_STAGE_ACCEPTED) -> None:
        """The same without waiting for the acknowledgement."""
        self._states += 1
        held = [pb.HeldLease(lease_id=it.lease_id, attempt=it.attempt, stage=stage) for it in self.held.values()]
        state = pb.Heartbeat(
            number=self._states,
            free_slots=free_slots,
            held_leases=held,
            last_assignment=self._assignments,
            last_poll_id=self.last_poll_id,
            unhealthy=self.last_error is not None,
            last_error=self.last_error or "",
        )
        await self.write(pb.LeaseRequest(heartbeat=state))

    async def tell(self, *updates: pb.LeaseUpdate) -> None:
        """Reports without waiting for what becomes of it."""
        self._reports += 1
        await self.write(pb.LeaseRequest(report=pb.Report(number=self._reports, updates=updates)))

    async def take(self, free_slots: int = 1) -> Sequence[pb.AssignedLease]:
        """Offers slots and returns what is assigned next."""
        await self.state(free_slots)
        return await self.assigned()

    async def assigned(self) -> Sequence[pb.AssignedLease]:
        assignment = (await self.read("assignment")).assignment
        self._assignments = assignment.number
        self.held |= {lease.lease_id: lease for lease in assignment.leases}
        return assignment.leases

    async def polled(self) -> str:
        """The id of the next poll; the next state answers it."""
        self.last_poll_id = (await self.read("poll_now")).poll_now.poll_id
        return self.last_poll_id

    async def report(self, lease: pb.AssignedLease, **update: Any) -> pb.UpdateOutcome.ValueType:
        """Reports one update; returns what became of it."""
        sent = pb.LeaseUpdate(lease_id=lease.lease_id, attempt=lease.attempt, **update)
        await self.tell(sent)
        answer = (await self.read("acknowledgement")).acknowledgement
        assert answer.report_number == self._reports
        if sent.WhichOneof("update") in {"completed", "failed", "released"}:
            self.held.pop(lease.lease_id, None)
        return answer.results[0].outcome

    async def start(self, lease: pb.AssignedLease) -> pb.UpdateOutcome.ValueType:
        await self.report(lease, accepted=pb.Accepted())
        return await self.report(lease, processing=pb.Processing())

    async def complete(
        self, lease: pb.AssignedLease, body: str = "an article", **result: Any
    ) -> pb.UpdateOutcome.ValueType:
        return await self.report(lease, completed=pb.Completed(result=pb.Result(body=body, **result)))

    async def fail(self, lease: pb.AssignedLease, reason: str = "CREATOR_ERROR") -> pb.UpdateOutcome.ValueType:
        return await self.report(lease, failed=pb.Failed(error=task_pb2.TaskError(reason=reason, message="it failed")))
