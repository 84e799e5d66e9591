"""One open stream: what is heard goes to the worker, what the speaker chooses is written.

Layer: inside session, used by link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc.aio
import structlog
from structlog.typing import FilteringBoundLogger

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.guard import now
from worker_svc.session import wire
from worker_svc.session.outbound_policy import OutboundPolicy
from worker_svc.session.worker import Worker

MAX_SILENCE = 30.0
"""Seconds without a word from the scheduler, or three heartbeat intervals if that is longer: then a stream counts as
dead, whatever gRPC thinks of it. A replica that hangs is left in time to reach another."""

_log: FilteringBoundLogger = structlog.get_logger()

Call = grpc.aio.StreamStreamCall[pb.LeaseRequest, pb.LeaseResponse]


class StreamEndedError(Exception):
    """The stream is over; the text says why."""


class SentAwayError(StreamEndedError):
    """The scheduler wants another one dialled."""


async def read(call: Call) -> pb.LeaseResponse:
    """The next message. Raises StreamEndedError, AioRpcError."""
    message = await call.read()
    if not isinstance(message, pb.LeaseResponse):
        raise StreamEndedError("the scheduler ended it")
    return message


async def write(call: Call, message: pb.LeaseRequest) -> None:
    """Writes one message, waiting for flow control. Raises StreamEndedError, AioRpcError."""
    try:
        await call.write(message)
    except asyncio.InvalidStateError:
        raise StreamEndedError("it was over before all was written") from None


class LeaseStream:
    """What goes on between a welcome and the end of its stream."""

    def __init__(
        self, call: Call, worker: Worker, speaker: OutboundPolicy, heed: Callable[[pb.DesiredState], None]
    ) -> None:
        self._call = call
        self._worker = worker
        self._speaker = speaker
        self._heed = heed
        self.heard_at = now()
        """When the scheduler said its last word."""

    async def run(self, wake: asyncio.Event, heartbeat_interval: float) -> None:
        """Runs until the stream ends: raises StreamEndedError or AioRpcError."""
        tasks = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._speak(wake, max(MAX_SILENCE, 3 * heartbeat_interval))),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        # The reader knows best why a stream is over: the writer only finds that it is.
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _listen(self) -> None:
        while True:
            message = await read(self._call)
            self.heard_at = now()
            self._hear(message)

    async def _speak(self, wake: asyncio.Event, longest_silence: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wake.clear()
            at = now()
            while (message := self._speaker.next(at)) is not None:
                await write(self._call, message)
                # A write that waits is no silence of the scheduler's: what it waits for is that it reads.
                took, at = now() - at, now()
                self.heard_at = min(self.heard_at + took, at)
            if at - self.heard_at > longest_silence:
                raise StreamEndedError(f"the scheduler was silent for {longest_silence:g} s")
            timer = loop.call_later(max(0.0, self._speaker.wake_at(at) - now()), wake.set)
            try:
                await wake.wait()
            finally:
                timer.cancel()

    def _hear(self, message: pb.LeaseResponse) -> None:
        match message.WhichOneof("message"):
            case "assignment":
                self._assigned(message.assignment)
            case "acknowledgement":
                self._acknowledged(message.acknowledgement)
            case "cancel":
                self._worker.revoked([message.cancel.lease_id], message.cancel.reason)
            case "drain":
                self._worker.want_drain(True)
            case "resize":
                self._worker.resize(message.resize.slots)
            case "poll_now":
                self._worker.poll_now(message.poll_now.poll_id)
            case "part_received":
                self._speaker.received(message.part_received.report_number, now())
                self._worker.on_change()  # for the next one
            case "reconnect":
                raise SentAwayError("the scheduler asks to dial another replica")
            case unknown:  # a newer scheduler may say more
                _log.debug("a message that this worker does not know", action="stream.unknown", message=unknown)

    def _assigned(self, assignment: pb.Assignment) -> None:
        deadline = self._speaker.assigned(assignment.number, len(assignment.leases), assignment.heartbeat_number)
        self._worker.assigned(assignment.leases, deadline)

    def _acknowledged(self, ack: pb.Acknowledgement) -> None:
        if ack.heartbeat_number:
            renewal = self._speaker.acknowledged(ack.heartbeat_number, [*ack.not_renewed_leases, *ack.skipped_leases])
            if renewal is not None:
                self._worker.renewed(renewal)
            self._worker.revoked(ack.not_renewed_leases, "LEASE_LOST")
            self._heed(ack.desired_state)
            self._worker.on_change()  # the next state may have waited for this answer
        if ack.report_number:
            self._worker.reported(ack.report_number, wire.answers(ack.results))
