"""Keeps a stream to a scheduler: dials, says hello, reads and writes, and dials again for as long as the worker lives.

Layer: the top of session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
import structlog
from structlog.typing import FilteringBoundLogger

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1 import worker_service_pb2_grpc
from worker_svc.guard import now
from worker_svc.session import wire
from worker_svc.session.backoff import Backoff
from worker_svc.session.channel import Dialer
from worker_svc.session.lease_stream import Call, LeaseStream, SentAwayError, StreamEndedError, read, write
from worker_svc.session.outbound_policy import OutboundPolicy
from worker_svc.session.refusal import error_info, log_refusal
from worker_svc.session.worker import Worker

SHORTEST_HEARTBEAT, MAX_HEARTBEAT = 0.05, 60.0
"""Seconds: a scheduler that says less, or more, is not believed. No pause before a reconnect is longer, and gRPC
takes none that is out of its range.
"""
WELCOME_LIMIT = 10.0
"""Seconds that the answer to a hello may take."""

_log: FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a hello says of the worker that does not change while it runs."""

    worker_id: str
    folder_id: str
    process_id: str
    hostname: str
    version: str
    creator: wire.Creator


class SchedulerConnection:
    """The worker's stream, one at a time."""

    def __init__(
        self, worker: Worker, introduction: Introduction, dialer: Dialer, next_session: Callable[[], int]
    ) -> None:
        self._worker = worker
        self._introduction = introduction
        self._dialer = dialer
        self._next_session = next_session
        self._backoff = Backoff()
        self.connected = False
        """Whether a session is open."""
        self._conversation: LeaseStream | None = None
        self._wake = asyncio.Event()
        worker.on_change = self._wake.set

    @property
    def heard_at(self) -> float:
        """When a scheduler was last heard in an open session; 0 if there was none yet."""
        return self._conversation.heard_at if self._conversation else 0.0

    async def run(self) -> None:
        """Runs until it is cancelled. No fault of a stream ends it."""
        while True:
            try:
                await self._one_stream()
            except StreamEndedError as ended:
                _log.warning("the stream ended", action="stream.ended", reason=str(ended))
            except grpc.aio.AioRpcError as error:
                log_refusal(error)
            except OSError as error:
                _log.error("no session can be opened", action="session.refused", error=str(error))
            except Exception:  # noqa: BLE001 - the runs go on, and another stream may do better
                _log.exception("a stream failed", action="stream.fault")
            await asyncio.sleep(self._backoff.pause())

    async def _one_stream(self) -> None:
        loop = asyncio.get_running_loop()
        number = await loop.run_in_executor(None, self._next_session)
        target, channel = self._dialer.dial(self._backoff.longest)
        async with channel:
            call: Call = worker_service_pb2_grpc.WorkerServiceStub(channel).Lease(metadata=self._dialer.metadata)
            try:
                welcome = await self._greet(call, number)
                await self._converse(call, welcome, target)
            finally:
                call.cancel()

    async def _greet(self, call: Call, number: int) -> pb.Welcome:
        """Says hello. What is held and lost is told as it is now."""
        lost = self._worker.keeper.lost()
        try:
            async with asyncio.timeout(WELCOME_LIMIT):
                await write(call, self._hello(number, lost))
                answer = await read(call)
        except TimeoutError:
            raise StreamEndedError(f"no welcome within {WELCOME_LIMIT:g} s") from None
        if answer.WhichOneof("message") != "welcome":
            raise StreamEndedError(f"{answer.WhichOneof('message')} came instead of a welcome")
        skipped = set(answer.welcome.skipped_leases)
        self._worker.keeper.lost_is_told([lease_id for lease_id in lost if lease_id not in skipped])
        return answer.welcome

    def _hello(self, number: int, lost: Sequence[str]) -> pb.LeaseRequest:
        me = self._introduction
        return wire.hello(
            identity=(me.worker_id, me.folder_id),
            process_id=me.process_id,
            session_number=number,
            hostname=me.hostname,
            version=me.version,
            slots=self._worker.slots.size,
            creator=me.creator,
            held=self._worker.book,
            lost=lost,
        )

    async def _converse(self, call: Call, welcome: pb.Welcome, target: str) -> None:
        lease_ttl = wire.seconds(welcome.lease_ttl)
        heartbeat = min(max(SHORTEST_HEARTBEAT, wire.seconds(welcome.heartbeat_interval)), MAX_HEARTBEAT)
        _log.info(
            "a session is open",
            action="session.opened",
            scheduler=target,
            scheduler_id=welcome.scheduler_id,
            lease_ttl=lease_ttl,
            heartbeat_interval=heartbeat,
            kept=len(welcome.keep_leases),
            dropped=len(welcome.drop_leases),
        )
        self._worker.welcomed(welcome.drop_leases, lease_ttl)
        self._heed(welcome.desired_state)
        speaker = OutboundPolicy(
            self._worker,
            lease_ttl,
            heartbeat,
            now(),
            accepts_deferrals=welcome.accepts_deferrals,
            accepts_report_parts=welcome.accepts_report_parts,
        )
        opened_at, self._backoff.longest, self.connected = now(), heartbeat, True
        self._conversation = LeaseStream(call, self._worker, speaker, self._heed)
        try:
            await self._conversation.run(self._wake, heartbeat)
        except (StreamEndedError, grpc.aio.AioRpcError) as ended:
            if not _is_explained(ended):
                self._worker.stream_ended()
            raise
        finally:
            self.connected = False
            self._backoff.succeeded(now() - opened_at)

    def _heed(self, wanted: pb.DesiredState) -> None:
        """What the database wants of this worker."""
        self._worker.resize(wanted.slots)
        self._worker.want_drain(wanted.drain)


def _is_explained(ended: StreamEndedError | grpc.aio.AioRpcError) -> bool:
    """Whether a stream ended by the scheduler's wish, whatever was sent on it."""
    if isinstance(ended, StreamEndedError):
        return isinstance(ended, SentAwayError)
    return error_info(ended).reason not in ("", "INVALID_ARGUMENT", "INTERNAL")
