"""Keeps a stream to a scheduler: dials, sends the hello, serves the session, and dials again when the stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc.aio
import structlog
from structlog.typing import FilteringBoundLogger

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1 import worker_service_pb2_grpc
from worker_svc.guard import now
from worker_svc.metrics import WorkerMetrics
from worker_svc.session import wire
from worker_svc.session.asset_uploads import Put
from worker_svc.session.channel import Dialer, ReconnectBackoff, error_info, log_refusal
from worker_svc.session.lease_stream import Call, LeaseStream, ReconnectRequestedError, StreamEndedError, read, write
from worker_svc.session.outbound_policy import OutboundPolicy
from worker_svc.session.worker import Worker

MIN_HEARTBEAT_INTERVAL, MAX_HEARTBEAT_INTERVAL = 0.05, 60.0
"""Seconds to which the scheduler's heartbeat interval is clamped. No pause before a reconnect is longer, and gRPC
accepts none out of its range.
"""
WELCOME_TIMEOUT = 10.0  # seconds that the welcome to a hello may take

_log: FilteringBoundLogger = structlog.get_logger()


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
        target, channel = self._dialer.dial(self._backoff.max_pause)
        async with channel, self._dialer.channel(target, self._backoff.max_pause) as for_uploads:
            call: Call = worker_service_pb2_grpc.WorkerServiceStub(channel).Lease(metadata=self._dialer.metadata)
            put = Put(for_uploads, channel, self._dialer.metadata)
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
        policy = OutboundPolicy(
            self._worker,
            lease_ttl,
            heartbeat_interval,
            now(),
            accepts_deferrals=welcome.accepts_deferrals,
            accepts_report_parts=welcome.accepts_report_parts,
            on_quiesced=self.quiesced.set,
        )
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
    """Whether the scheduler ended the stream for a reason that has nothing to do with what was sent."""
    if isinstance(error, StreamEndedError):
        return isinstance(error, ReconnectRequestedError)
    return error_info(error).reason not in ("", "INVALID_ARGUMENT", "INTERNAL")
