"""The worker's end of WorkerService.Lease, one message at a time.

`ScriptedWorker` does on a stream what a test says, the benchmarks' `QuickWorker` completes each lease at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Self

from grpc import aio

from contentgen.testing.worker import ENDS_LEASE, LeaseMessages, update_of
from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.harness.pictures import sha256
from tests.harness.waiting import PATIENCE_S

LEASE = "/contentgen.v1.WorkerService/Lease"
ACCEPTED = pb.LEASE_STAGE_ACCEPTED


def hello(**fields: Any) -> pb.Hello:
    """Returns a hello with all required fields, and with `fields`."""
    message = pb.Hello(worker_id="w1", folder_id="f1", session_number=1, hostname="host", slots=3)
    message.MergeFrom(pb.Hello(**fields))
    return message


class LeaseStream(LeaseMessages):
    """A stream with the messages of a worker.

    Entering it sends the hello and reads the welcome; leaving it cancels, as a lost connection would.
    """

    timeout: float | None = None
    """Seconds that `next` waits."""

    def __init__(self, channel: aio.Channel, greeting: pb.Hello | None = None, token: str = "") -> None:
        super().__init__(greeting or hello())
        self.welcome = pb.Welcome()
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

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
        """Reads the next message. Raises AioRpcError if the stream has failed, AssertionError if it has ended well."""
        async with asyncio.timeout(self.timeout):
            response = await self._call.read()
        assert isinstance(response, pb.LeaseResponse), "the stream has ended"
        return response


class ScriptedWorker(LeaseStream):
    """A worker on one stream, right or wrong as a test says."""

    timeout = PATIENCE_S
    last_poll_id = ""
    last_error: str | None = None
    """Why its heartbeats call it unhealthy; None: it is healthy."""

    async def read(self, kind: str) -> pb.LeaseResponse:
        """Reads the next message of this kind, past others before it. Raises AioRpcError if the stream has failed."""
        async with asyncio.timeout(PATIENCE_S):
            while (response := await self.next()).WhichOneof("message") != kind:
                pass
        return response

    async def heartbeat(self, free_slots: int, stage: pb.LeaseStage.ValueType = ACCEPTED) -> pb.Acknowledgement:
        """Sends a heartbeat; returns its acknowledgement, and skips assignments before it."""
        await self.send_heartbeat(free_slots, stage)
        return (await self.read("acknowledgement")).acknowledgement

    async def send_heartbeat(self, free_slots: int, stage: pb.LeaseStage.ValueType = ACCEPTED) -> None:
        """Sends a heartbeat without waiting for the acknowledgement."""
        health = {"unhealthy": self.last_error is not None, "last_error": self.last_error or ""}
        await self.write(self.next_heartbeat(free_slots, stage, last_poll_id=self.last_poll_id, **health))

    async def send_report(self, *updates: pb.LeaseUpdate) -> None:
        """Sends a report without waiting for the acknowledgement."""
        await self.write(self.next_report(*updates))

    async def take(self, free_slots: int = 1) -> Sequence[pb.AssignedLease]:
        """Offers slots and returns what is assigned next."""
        await self.heartbeat(free_slots)
        return await self.assigned()

    async def take_all(self, count: int) -> list[pb.AssignedLease]:
        """Offers that many slots until each has a lease, which may take several assignments."""
        leases = list(await self.take(count))
        while len(leases) < count:
            leases += await self.assigned()
        return leases

    async def run(self) -> pb.AssignedLease:
        """Takes a lease whose CLI starts."""
        (lease,) = await self.take()
        await self.start(lease)
        return lease

    async def assigned(self) -> Sequence[pb.AssignedLease]:
        """Returns the leases of the next assignment, which it holds from now on."""
        assignment = (await self.read("assignment")).assignment
        self.hold(assignment)
        return assignment.leases

    async def polled(self) -> str:
        """Returns the id of the next poll; the next heartbeat answers it."""
        self.last_poll_id = (await self.read("poll_now")).poll_now.poll_id
        return self.last_poll_id

    async def report(self, lease: pb.AssignedLease, **update: Any) -> pb.UpdateOutcome.ValueType:
        """Reports one update; returns its outcome."""
        sent = update_of(lease, **update)
        await self.send_report(sent)
        answer = (await self.read("acknowledgement")).acknowledgement
        assert answer.report_number == self._reports
        if sent.WhichOneof("update") in ENDS_LEASE:
            self.held.pop(lease.lease_id, None)
        return answer.results[0].outcome

    async def start(self, lease: pb.AssignedLease) -> pb.UpdateOutcome.ValueType:
        await self.report(lease, accepted=pb.Accepted())
        return await self.report(lease, processing=pb.Processing())

    async def complete(
        self, lease: pb.AssignedLease, body: str = "an article", **result: Any
    ) -> pb.UpdateOutcome.ValueType:
        return await self.report(lease, completed=pb.Completed(result=pb.Result(body=body, **result)))

    async def upload(self, lease: pb.AssignedLease, data: bytes, **stated: Any) -> bool:
        """Uploads an asset; whether it was stored before. `stated` is what the first message states otherwise."""
        header: dict[str, Any] = {"sha256": sha256(data), "size": len(data)} | stated
        first = pb.PutAssetRequest(lease_id=lease.lease_id, attempt=lease.attempt, **header)
        chunks = (pb.PutAssetRequest(chunk=data[at : at + 1000]) for at in range(0, len(data), 1000))
        return await self.put([first, *chunks])

    async def put(self, messages: Iterable[pb.PutAssetRequest]) -> bool:
        """Makes a PutAsset call of these messages."""
        put = WorkerServiceStub(self._channel).PutAsset
        return bool((await put(iter(messages), metadata=self._metadata, timeout=PATIENCE_S)).known)

    async def fail(
        self, lease: pb.AssignedLease, reason: str = "CREATOR_ERROR", *, output: pb.RunOutput | None = None
    ) -> pb.UpdateOutcome.ValueType:
        error = task_pb2.TaskError(reason=reason, message="it failed")
        return await self.report(lease, failed=pb.Failed(error=error), output=output)
