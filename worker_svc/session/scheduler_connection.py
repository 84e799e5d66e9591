"""Keeps a stream to a scheduler: dials, sends the hello, serves the session, and dials again when the stream ends.

On an open stream it passes incoming messages to the worker, and writes what the outbound policy chooses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc.aio
import structlog

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1 import worker_service_pb2_grpc
from worker_svc.guard import now
from worker_svc.metrics import WorkerMetrics
from worker_svc.session import wire
from worker_svc.session.asset_uploads import Put
from worker_svc.session.channel import Dialer, ReconnectBackoff, error_info, log_refusal
from worker_svc.session.loop import cancelled
from worker_svc.session.outbound_policy import OutboundPolicy
from worker_svc.session.worker import Worker

MIN_HEARTBEAT_INTERVAL, MAX_HEARTBEAT_INTERVAL = 0.05, 60.0
"""Seconds to which the scheduler's heartbeat interval is clamped. No pause before a reconnect is longer, and gRPC
accepts none out of its range.
"""
WELCOME_TIMEOUT = 10.0  # seconds that the welcome to a hello may take
MIN_SILENCE_TIMEOUT = 30.0
"""Seconds without a message from the scheduler, or three heartbeat intervals if that is longer, after which a stream
counts as dead. That leaves time to reach another replica."""

_log = structlog.get_logger()

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
            case "part_received":
                self._policy.received(message.part_received.report_number, now())
                self._wake.set()  # for the next part
            case "output_received":
                self._policy.output_received()
                self._wake.set()  # for the next output
            case "reconnect":
                raise ReconnectRequestedError("the scheduler asks to dial another replica")
            case kind:
                self._ordered(kind, message)

    def _ordered(self, kind: str | None, message: pb.LeaseResponse) -> None:
        match kind:
            case "cancel":
                self._worker.revoked([message.cancel.lease_id], message.cancel.reason)
            case "drain":
                self._worker.want_drain(True)
            case "resize":
                self._worker.resize(message.resize.slots)
            case "poll_now":
                self._worker.reporters.poll_now(message.poll_now.poll_id)
            case "tail":
                self._worker.tails.asked(message.tail, now())
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


class SchedulerConnection:
    """The worker's stream, one at a time."""

    def __init__(
        self,
        worker: Worker,
        identity: pb.Hello,
        dialer: Dialer,
        next_session: Callable[[], int],
        wake: asyncio.Event,
        *,
        metrics: WorkerMetrics,
    ) -> None:
        """`identity` has what is the same in each hello. `wake` is set when the worker may have something to send."""
        self._worker = worker
        self._identity = identity
        self._dialer = dialer
        self._next_session = next_session
        self._metrics = metrics
        self._backoff = ReconnectBackoff()
        self.connected = False  # whether a session is open
        self._stream: LeaseStream | None = None
        self._wake = wake
        self.quiesced = asyncio.Event()
        """Set once the scheduler can send a draining worker no further lease."""

    @property
    def last_received_at(self) -> float:
        """When the last message of an open session was read; 0 if there was no session yet."""
        return self._stream.last_received_at if self._stream else 0.0

    async def run(self) -> None:
        """Runs until it is cancelled. No error of a stream ends it."""
        while True:
            try:
                await self._one_stream()
            except StreamEndedError as end:
                self._metrics.stream_ends.labels("OK").inc()
                _log.warning("the stream ended", action="stream.ended", reason=str(end))
            except grpc.aio.AioRpcError as error:
                self._metrics.stream_ends.labels(error.code().name).inc()
                log_refusal(error)
            except OSError as error:
                _log.error("no session can be opened", action="session.refused", error=str(error))
            except Exception:  # noqa: BLE001 - the runs continue, and the next stream may work
                _log.exception("a stream failed", action="stream.fault")
            await asyncio.sleep(self._backoff.pause())

    async def _one_stream(self) -> None:
        loop = asyncio.get_running_loop()
        number = await loop.run_in_executor(None, self._next_session)
        dialer, target, max_pause = self._dialer, next(self._dialer.targets), self._backoff.max_pause
        async with dialer.channel(target, max_pause) as channel, dialer.channel(target, max_pause) as for_uploads:
            call: Call = worker_service_pb2_grpc.WorkerServiceStub(channel).Lease(metadata=dialer.metadata)
            put = Put(for_uploads, channel, dialer.metadata)
            try:
                welcome = await self._open_session(call, number)
                await self._serve_session(call, welcome, target, put if welcome.accepts_assets else None)
            finally:
                self._worker.uploads.closed()
                call.cancel()

    async def _open_session(self, call: Call, number: int) -> pb.Welcome:
        """Sends a hello with the leases that are held and lost now, and returns the welcome."""
        lost_ids = self._worker.journal.lost()
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT):
                await write(call, self._hello(number, lost_ids))
                answer = await read(call)
        except TimeoutError:
            raise StreamEndedError(f"no welcome within {WELCOME_TIMEOUT:g} s") from None
        if answer.WhichOneof("message") != "welcome":
            raise StreamEndedError(f"{answer.WhichOneof('message')} came instead of a welcome")
        for lease_id in set(lost_ids) - set(answer.welcome.skipped_leases):
            self._worker.journal.marks.clear(lease_id)
        return answer.welcome

    def _hello(self, number: int, lost_ids: Sequence[str]) -> pb.LeaseRequest:
        slots, held = self._worker.slots.size, wire.held(self._worker.book)
        hello = pb.Hello(session_number=number, slots=slots, held_leases=held, lost_leases=lost_ids)
        hello.MergeFrom(self._identity)
        return pb.LeaseRequest(hello=hello)

    async def _serve_session(self, call: Call, welcome: pb.Welcome, target: str, put: Put | None) -> None:
        lease_ttl = wire.seconds(welcome.lease_ttl)
        interval = wire.seconds(welcome.heartbeat_interval)
        heartbeat_interval = min(max(MIN_HEARTBEAT_INTERVAL, interval), MAX_HEARTBEAT_INTERVAL)
        _log.info(
            "a session is open",
            action="session.opened",
            scheduler=target,
            scheduler_id=welcome.scheduler_id,
            lease_ttl=lease_ttl,
            heartbeat_interval=heartbeat_interval,
            kept=len(welcome.keep_leases),
            dropped=len(welcome.drop_leases),
        )
        self._worker.welcomed(welcome.drop_leases, lease_ttl, put)
        self._worker.apply_desired_state(welcome.desired_state)
        policy = OutboundPolicy(self._worker, welcome, heartbeat_interval, now(), self.quiesced.set)
        self._metrics.sessions.inc()
        opened_at, self._backoff.max_pause, self.connected = now(), heartbeat_interval, True
        self._stream = LeaseStream(call, self._worker, policy, self._wake)
        try:
            await self._stream.run(heartbeat_interval)
        except (StreamEndedError, grpc.aio.AioRpcError) as error:
            if not _has_reason(error):
                self._worker.stream_ended()
            raise
        finally:
            self.connected = False
            self._backoff.succeeded(now() - opened_at)


def _has_reason(error: StreamEndedError | grpc.aio.AioRpcError) -> bool:
    """Returns whether the scheduler ended the stream for a reason that has nothing to do with what was sent."""
    if isinstance(error, StreamEndedError):
        return isinstance(error, ReconnectRequestedError)
    return error_info(error).reason not in ("", "INVALID_ARGUMENT", "INTERNAL")
