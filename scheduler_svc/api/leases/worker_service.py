"""WorkerService.Lease: one stream a worker. Part of `api`.

States and reports go to the report lane in the order of the stream, several under way at once; what is to be sent
goes through one queue, whose only reader writes to the stream. A stream that ends says nothing of its leases.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog
from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceServicer
from scheduler_svc.api.access.auth import caller
from scheduler_svc.api.leases import lease_messages as convert
from scheduler_svc.api.leases.report_parts import ReportParts
from scheduler_svc.api.server.headers import sent
from scheduler_svc.application.calls import Calls
from scheduler_svc.application.leases.report import (
    Answer,
    HeartbeatAck,
    HeartbeatItem,
    Item,
    ReportItem,
    StreamEnded,
    UnsentLeases,
    WorkerDraining,
)
from scheduler_svc.application.leases.reporters import ReportSource
from scheduler_svc.application.leases.sessions import SessionSettings, open_session
from scheduler_svc.application.leases.stream_backlog import StreamBacklog
from scheduler_svc.application.leases.streams import (
    AcknowledgeHeartbeat,
    AcknowledgeReport,
    Answered,
    Assign,
    PartReceived,
    PollOrder,
    ReconnectOrder,
    Streams,
    WorkerStream,
)
from scheduler_svc.application.ports import GroupCommit
from scheduler_svc.application.skip_locked import SkipLocked
from scheduler_svc.domain.errors import FieldViolation, InvalidArgument
from scheduler_svc.domain.worker import Heartbeat

HELLO_TIMEOUT = 10.0
CAPACITY_LAPSES_AFTER = 1.5
"""Heartbeat intervals after which a stated capacity counts no more."""
ROTATE_AFTER = (20 * 60.0, 40 * 60.0)
"""Seconds after which a worker is asked to dial anew, so that replicas share the workers evenly."""
ROTATE_LATER = 60.0
"""Seconds until the next look, where a report is just coming in parts: it would have to come anew."""

Context = aio.ServicerContext[pb.LeaseRequest, pb.LeaseResponse]
_log = structlog.get_logger(__name__)


class WorkerService(WorkerServiceServicer):
    """Opens sessions and carries their messages."""

    def __init__(
        self,
        calls: Calls,
        reports: GroupCommit[Item, Answer],
        streams: Streams,
        *,
        settings: SessionSettings,
        heartbeat_interval: float,
        room: Callable[[], None],
    ) -> None:
        """`room` says that a worker has stated room for more."""
        self._caution = SkipLocked(calls)
        self._reports = reports
        self._streams = streams
        self._settings = settings
        self._heartbeat_interval = heartbeat_interval
        self._room = room

    async def Lease(self, _: object, context: Context) -> None:  # type: ignore[override]  # it reads and writes by itself
        stream = await self._open(context)
        _log.info("worker connected", action="hello", worker_id=stream.worker_id)
        try:
            await _Conversation(self, stream, context).run()
        finally:
            self._close(stream)
            _log.info("worker disconnected", action="stream_ended", worker_id=stream.worker_id)

    async def _open(self, context: Context) -> WorkerStream:
        """Takes the hello, opens the session and answers with the welcome."""
        first: object = aio.EOF
        with suppress(TimeoutError):
            async with asyncio.timeout(HELLO_TIMEOUT):
                first = await context.read()
        if not isinstance(first, pb.LeaseRequest) or first.WhichOneof("message") != "hello":
            text = f"the first message of a stream must be a hello, within {HELLO_TIMEOUT:g} s"
            raise InvalidArgument([FieldViolation("message", text)])
        hello = replace(convert.hello(first.hello), identity=caller().name)
        with self._streams.hello(hello.worker_id) as told:
            opened = await self._caution.run(open_session, hello, self._settings)
            stream = WorkerStream(
                hello.worker_id, opened.session_key, relieved=self._room, accepts_skipped=hello.accepts_skipped
            )
            if opened.desired_state.poll:
                stream.send(PollOrder(opened.desired_state.poll))
            for order in told:
                stream.order(order)
            self._streams.add(stream)
        try:
            settings = self._settings
            welcome = convert.welcome(opened, settings.lease_ttl, self._heartbeat_interval, settings.scheduler_id)
            await sent(context.write(welcome))
        except BaseException:
            self._close(stream)
            raise
        return stream

    def _close(self, stream: WorkerStream) -> None:
        self._streams.remove(stream)
        self.take_back(stream)
        self._reports.post(StreamEnded(stream.worker_id, stream.session_key))

    def take_back(self, stream: WorkerStream) -> None:
        """Gives back what was granted but never handed to the stream."""
        unsent = [message for message in stream.unsent() if isinstance(message, Assign)]
        if unsent:
            self._reports.post(UnsentLeases(tuple(grant.ref for message in unsent for grant in message.grants)))

    def submit(self, item: Item) -> asyncio.Future[Answer]:
        """Puts a message into the report lane."""
        return self._reports.submit(item)

    def stated(self, stream: WorkerStream, state: Heartbeat, received: float) -> None:
        """A state is committed."""
        stream.heartbeat(state, received + CAPACITY_LAPSES_AFTER * self._heartbeat_interval)
        self._room()


class _Conversation:
    """One stream's messages, until it ends or an answer fails."""

    def __init__(self, service: WorkerService, stream: WorkerStream, context: Context) -> None:
        self._service = service
        self._stream = stream
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._over.add_done_callback(_look_at)
        self._under_way = StreamBacklog()
        self._parts = ReportParts()
        self._reporter = ReportSource(stream.worker_id, caller().name)

    async def run(self) -> None:
        """Returns when the worker has ended the stream; raises what ended it otherwise."""
        self._rotate_after(random.uniform(*ROTATE_AFTER))  # noqa: S311 - a spread
        jobs = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        for job in jobs:
            job.add_done_callback(self._job_ended)
        try:
            await self._over
        finally:
            self._rotation.cancel()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    def _job_ended(self, job: asyncio.Task[None]) -> None:
        error = None if job.cancelled() else job.exception()
        self._end(None if isinstance(error, aio.BaseError) else error)  # gRPC's own say that the stream is over

    def _end(self, error: BaseException | None) -> None:
        """Ends the stream, unless it is over already."""
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    def _rotate_after(self, seconds: float) -> None:
        self._rotation = self._loop.call_later(seconds, self._rotate)

    def _rotate(self) -> None:
        if self._parts.received:
            self._rotate_after(ROTATE_LATER)
        else:
            self._stream.send(ReconnectOrder())

    async def _write(self) -> None:
        while True:
            message = await self._stream.next()
            await self._context.write(convert.outgoing(message))
            if isinstance(message, Answered):
                self._under_way.leave(message.names)

    async def _read(self) -> None:
        while isinstance(request := await self._context.read(), pb.LeaseRequest):
            match request.WhichOneof("message"):
                case "heartbeat":
                    await self._under_way.enter(len(request.heartbeat.held_leases))
                    self._take_state(convert.state(request.heartbeat))
                case "report":
                    await self._take_report(request.report)
                case "report_part":
                    await self._take_part(request.report_part)
                case "draining":
                    await self._under_way.enter(0)
                    drains = WorkerDraining(self._stream.worker_id, self._stream.session_key)
                    self._take(drains, lambda _: self._under_way.leave(0))
                case _:
                    raise InvalidArgument(
                        [FieldViolation("message", "must be state, report, report_part or draining after the hello")]
                    )

    def _take_state(self, state: Heartbeat) -> None:
        received = self._loop.time()

        def committed(ack: Any) -> None:
            assert isinstance(ack, HeartbeatAck)
            self._service.stated(self._stream, state, received)
            names = len(state.held)
            self._stream.send(
                AcknowledgeHeartbeat(state.number, ack.not_renewed, ack.skipped, ack.desired_state, names=names)
            )
            if ack.desired_state.poll > state.last_poll:
                self._stream.send(PollOrder(ack.desired_state.poll))

        stream = self._stream
        self._take(HeartbeatItem(stream.worker_id, stream.session_key, state, stream.accepts_skipped), committed)

    async def _take_part(self, part: pb.ReportPart) -> None:
        if (report := self._parts.add(part)) is not None:
            await self._take_report(report)
        else:
            await self._under_way.enter(0)
            self._stream.send(PartReceived(part.report_number, self._parts.received))

    async def _take_report(self, report: pb.Report) -> None:
        await self._under_way.enter(len(report.updates))
        number, updates = report.number, convert.updates(report)

        def committed(outcomes: Any) -> None:
            named = tuple((u.lease_id, u.attempt, o) for u, o in zip(updates, outcomes, strict=True))
            self._stream.send(AcknowledgeReport(number, named))

        self._take(ReportItem(updates, self._reporter), committed)

    def _take(self, item: Item, committed: Callable[[Any], None]) -> None:
        def answered(future: asyncio.Future[Answer]) -> None:
            if future.cancelled():
                return
            if error := future.exception():
                self._end(error)
            else:
                committed(future.result())

        self._service.submit(item).add_done_callback(answered)


def _look_at(over: asyncio.Future[None]) -> None:
    """Of a stream that is cancelled at that moment nobody else would, and asyncio complains of it."""
    if not over.cancelled():
        over.exception()
