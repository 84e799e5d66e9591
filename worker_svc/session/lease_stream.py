"""One open stream: passes incoming messages to the worker, and writes what the outbound policy chooses."""

from __future__ import annotations

import asyncio

import grpc.aio
import structlog
from structlog.typing import FilteringBoundLogger

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.guard import now
from worker_svc.session.loop import cancelled
from worker_svc.session.outbound_policy import OutboundPolicy
from worker_svc.session.worker import Worker

MIN_SILENCE_TIMEOUT = 30.0
"""Seconds without a message from the scheduler, or three heartbeat intervals if that is longer, after which a stream
counts as dead. That leaves time to reach another replica."""

_log: FilteringBoundLogger = structlog.get_logger()

Call = grpc.aio.StreamStreamCall[pb.LeaseRequest, pb.LeaseResponse]


class StreamEndedError(Exception):
    """The stream is over; the text says why."""


class ReconnectRequestedError(StreamEndedError):
    """The scheduler asks the worker to dial another replica."""


async def read(call: Call) -> pb.LeaseResponse:
    """Returns the next message. Raises StreamEndedError, AioRpcError."""
    message = await call.read()
    if not isinstance(message, pb.LeaseResponse):
        raise StreamEndedError("the scheduler ended it")
    return message


async def write(call: Call, message: pb.LeaseRequest) -> None:
    """Writes one message, waiting for flow control. Raises StreamEndedError, AioRpcError."""
    try:
        await call.write(message)
    except asyncio.InvalidStateError:
        raise StreamEndedError("it ended before all was written") from None


class LeaseStream:
    """A stream from its welcome to its end."""

    def __init__(self, call: Call, worker: Worker, policy: OutboundPolicy, wake: asyncio.Event) -> None:
        """`wake` is set when there may be something to send."""
        self._call = call
        self._worker = worker
        self._policy = policy
        self._wake = wake
        self.last_received_at = now()  # when the scheduler's last message was read

    async def run(self, heartbeat_interval: float) -> None:
        """Runs until the stream ends: raises StreamEndedError or AioRpcError."""
        tasks = [
            asyncio.create_task(self._read_messages()),
            asyncio.create_task(self._write_messages(max(MIN_SILENCE_TIMEOUT, 3 * heartbeat_interval))),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ends = await cancelled(*tasks)
        # The reader's exception comes first: it says why the stream ended, the writer's only that it did.
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _read_messages(self) -> None:
        while True:
            message = await read(self._call)
            self.last_received_at = now()
            self._handle(message)

    async def _write_messages(self, silence_timeout: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            at = now()
            while (message := self._policy.next_message(at)) is not None:
                await write(self._call, message)
                # The time that a write takes is no silence: the write waits for the scheduler to read.
                duration, at = now() - at, now()
                self.last_received_at = min(self.last_received_at + duration, at)
            if at - self.last_received_at > silence_timeout:
                raise StreamEndedError(f"the scheduler was silent for {silence_timeout:g} s")
            timer = loop.call_later(max(0.0, self._policy.wake_at(at) - now()), self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    def _handle(self, message: pb.LeaseResponse) -> None:
        match message.WhichOneof("message"):
            case "assignment":
                assignment = message.assignment
                number, count, claimed_on = assignment.number, len(assignment.leases), assignment.heartbeat_number
                self._worker.assigned(assignment.leases, self._policy.assigned(number, count, claimed_on))
            case "acknowledgement":
                self._acknowledged(message.acknowledgement)
            case "cancel":
                self._worker.revoked([message.cancel.lease_id], message.cancel.reason)
            case "drain":
                self._worker.want_drain(True)
            case "resize":
                self._worker.resize(message.resize.slots)
            case "poll_now":
                self._worker.reporters.poll_now(message.poll_now.poll_id)
            case "part_received":
                self._policy.received(message.part_received.report_number, now())
                self._wake.set()  # for the next part
            case "reconnect":
                raise ReconnectRequestedError("the scheduler asks to dial another replica")
            case unknown:  # a newer scheduler may send others
                _log.debug("a message that this worker does not know", action="stream.unknown", message=unknown)

    def _acknowledged(self, ack: pb.Acknowledgement) -> None:
        if ack.heartbeat_number:
            renewal = self._policy.acknowledged(ack.heartbeat_number, [*ack.not_renewed_leases, *ack.skipped_leases])
            if renewal is not None:
                self._worker.renewed(renewal)
            self._worker.revoked(ack.not_renewed_leases)
            self._worker.apply_desired_state(ack.desired_state)
            self._wake.set()  # the next heartbeat may have waited for this acknowledgement
        if ack.report_number:
            self._worker.reported(ack.report_number, ack.results)
