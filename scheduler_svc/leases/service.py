"""WorkerService: one Lease stream per worker, and uploads of assets.

Heartbeats and reports go to the stream's group committer in order, several at a time. Heartbeats of idle workers, which
change nothing, wait a moment for others and share a transaction. A report may be sent in parts (rule 22 of the lease
protocol). Messages to the worker wait in one queue, which one task writes to the stream. The end of a stream does not
end its leases.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Any

import structlog
from google.protobuf.message import DecodeError
from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceServicer
from scheduler_svc.config import Settings
from scheduler_svc.dispatch.streams import (
    AcknowledgeHeartbeat,
    AcknowledgeReport,
    Answered,
    Assign,
    OutputReceived,
    PartReceived,
    PollOrder,
    ReconnectOrder,
    StreamBacklog,
    Streams,
    WorkerStream,
)
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.worker import Heartbeat
from scheduler_svc.leases import messages
from scheduler_svc.leases.attempts import ReportSource
from scheduler_svc.leases.report import (
    Answer,
    HeartbeatAck,
    HeartbeatItem,
    Item,
    ReportCommitter,
    ReportItem,
    StreamEnded,
    UnsentLeases,
    WorkerDraining,
)
from scheduler_svc.leases.sessions import open_session
from scheduler_svc.leases.uploads import AssetUploads
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.calls import SkipLocked
from scheduler_svc.runtime.interceptor import send_headers
from scheduler_svc.runtime.signals import Printed

GATHER_TIME = 0.1
"""Seconds that such a heartbeat waits at most; nothing depends on its answer."""


def changes_nothing(heartbeat: Heartbeat, before: Heartbeat | None) -> bool:
    """Returns whether a heartbeat holds no lease, and says what the one before it said."""
    return before is not None and not heartbeat.held and _state(heartbeat) == _state(before)


_state = attrgetter("free_slots", "last_assignment", "last_poll", "unhealthy", "last_error")


class IdleHeartbeats:
    """Lives on the event loop. A stream has one of them waiting at most."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, Callable[[], None]] = {}

    def put(self, stream: Hashable, submit: Callable[[], None]) -> None:
        """Calls `submit` within `GATHER_TIME`."""
        self.release(stream)
        if not self._waiting:
            asyncio.get_running_loop().call_later(GATHER_TIME, self._release_all)
        self._waiting[stream] = submit

    def release(self, stream: Hashable) -> None:
        """Submits the stream's heartbeat now, if one waits: what comes next of the stream must come after it."""
        if submit := self._waiting.pop(stream, None):
            submit()

    def drop(self, stream: Hashable) -> None:
        """Forgets the heartbeat of a stream that has ended."""
        self._waiting.pop(stream, None)

    def _release_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for submit in waiting.values():
            submit()


MAX_REPORT_BYTES = 4 * 1024 * 1024
"""The limit of a report that is sent whole, too."""


class ReportParts:
    """The parts of a stream's report, of which it sends one at a time."""

    def __init__(self) -> None:
        self._number = 0
        self._data = bytearray()

    @property
    def received(self) -> int:
        """Bytes received of the report; 0 if none is incomplete."""
        return len(self._data)

    def add(self, part: pb.ReportPart) -> pb.Report | None:
        """Adds the next part. Returns the report if this part completes it. Raises InvalidArgument."""
        if self._data and part.report_number != self._number:
            raise _bad("report_number", f"must be {self._number} until that report's last part")
        if not part.data:
            raise _bad("data", "must not be empty")
        if len(self._data) + len(part.data) > MAX_REPORT_BYTES:
            raise _bad("data", f"must have, with the parts before it, at most {MAX_REPORT_BYTES:,} bytes")
        self._number = part.report_number
        self._data += part.data
        return self._completed() if part.last else None

    def _completed(self) -> pb.Report:
        data, self._data = bytes(self._data), bytearray()
        try:
            report = pb.Report.FromString(data)
        except DecodeError:
            raise _bad("data", "must be, with the parts before it, a serialized Report") from None
        if report.number != self._number:
            raise _bad("report_number", "must be the number of the report that is sent in parts")
        return report


def _bad(field: str, text: str) -> InvalidArgument:
    return InvalidArgument.of(f"report_part.{field}", text)


HELLO_TIMEOUT = 10.0
"""Seconds from the start of a stream to its hello."""
CAPACITY_TTL = 1.5
"""Heartbeat intervals for which the capacity in a heartbeat is valid."""
ROTATION_INTERVAL = (20 * 60.0, 40 * 60.0)
"""Seconds, at least and at most, after which a worker is asked to reconnect, so that replicas share workers evenly."""
ROTATION_RETRY_INTERVAL = 60.0
"""Seconds by which this waits for a report in parts: the worker would have to send it again."""
OUTPUT_INTERVAL = 0.01
"""Seconds, at least, between two outputs of a stream."""

Context = aio.ServicerContext[pb.LeaseRequest, pb.LeaseResponse]
_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class WorkerService(WorkerServiceServicer):
    calls: SkipLocked
    lane: Callable[[], AbstractContextManager[ReportCommitter]]
    """Returns the committer of a stream."""
    streams: Streams
    uploads: AssetUploads
    settings: Settings
    scheduler_id: str
    capacity_changed: Callable[[], None]
    worker_matched: Callable[[], None]
    """Called when a worker has connected that may run tasks which others may not."""
    """Is called when a worker may have free slots."""
    printed: Callable[[Printed], None]
    """Takes what a CLI has printed, for a tail."""
    idle_heartbeats: IdleHeartbeats = field(default_factory=IdleHeartbeats)

    async def Lease(self, _: object, context: Context) -> None:  # type: ignore[override]  # it reads and writes by itself
        with self.lane() as reports:
            stream = await self._open(context, reports)
            _log.info("worker connected", action="hello", worker_id=stream.worker_id)
            try:
                await _StreamHandler(self, stream, reports, context).run()
            finally:
                self._close(stream, reports)
                _log.info("worker disconnected", action="stream_ended", worker_id=stream.worker_id)

    async def PutAsset(
        self, _: object, context: aio.ServicerContext[pb.PutAssetRequest, pb.PutAssetResponse]
    ) -> pb.PutAssetResponse:
        return pb.PutAssetResponse(known=await self.uploads.put(context))

    async def _open(self, context: Context, reports: ReportCommitter) -> WorkerStream:
        """Reads the hello, opens the session and sends the welcome."""
        first: object = aio.EOF
        with suppress(TimeoutError):
            async with asyncio.timeout(HELLO_TIMEOUT):
                first = await context.read()
        if not isinstance(first, pb.LeaseRequest) or first.WhichOneof("message") != "hello":
            text = f"the first message of a stream must be a hello, within {HELLO_TIMEOUT:g} s"
            raise InvalidArgument.of("message", text)
        hello = replace(messages.hello(first.hello), identity=caller().name)
        with self.streams.hello(hello.worker_id) as orders:
            opened = await self.calls.run(open_session, hello, self.settings, self.scheduler_id)
            stream = WorkerStream(
                hello.worker_id,
                opened.session_key,
                on_relieved=self.capacity_changed,
                accepts_skipped=hello.accepts_skipped,
                labels=hello.labels,
            )
            if opened.desired_state.poll:
                stream.send(PollOrder(opened.desired_state.poll))
            for order in orders:
                stream.order(order)
            self.streams.add(stream)
        if stream.selectors:
            self.worker_matched()
        try:
            welcome = messages.welcome(opened, self.settings, self.scheduler_id)
            await send_headers(context.write(welcome))
        except BaseException:
            self._close(stream, reports)
            raise
        return stream

    def _close(self, stream: WorkerStream, reports: ReportCommitter) -> None:
        """Closes the stream; also releases the leases that were granted and never sent."""
        self.streams.remove(stream)
        unsent = [message for message in stream.take_unsent() if isinstance(message, Assign)]
        if unsent:
            reports.post(UnsentLeases(tuple(grant.ref for message in unsent for grant in message.grants)))
        reports.post(StreamEnded(stream.worker_id, stream.session_key))

    def heartbeat_committed(self, stream: WorkerStream, heartbeat: Heartbeat, received: float) -> None:
        """Updates the capacity of the stream; `received`: seconds of the loop's clock."""
        stream.heartbeat(heartbeat, received + CAPACITY_TTL * self.settings.heartbeat_interval)
        self.capacity_changed()


class _StreamHandler:
    """Reads and writes the messages of one stream until it ends or a commit fails."""

    def __init__(
        self, service: WorkerService, stream: WorkerStream, reports: ReportCommitter, context: Context
    ) -> None:
        self._service = service
        self._stream = stream
        self._reports = reports
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._ended.add_done_callback(_retrieve_exception)
        self._backlog = StreamBacklog()
        self._parts = ReportParts()
        self._next_output_at = 0.0
        self._reporter = ReportSource(stream.worker_id, caller().name)
        self._last_heartbeat: Heartbeat | None = None

    async def run(self) -> None:
        """Returns when the worker ends the stream; raises any other cause of its end."""
        self._rotate_after(random.uniform(*ROTATION_INTERVAL))  # noqa: S311 - a spread
        jobs = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        for job in jobs:
            job.add_done_callback(self._job_ended)
        try:
            await self._ended
        finally:
            self._rotation.cancel()
            self._service.idle_heartbeats.drop(self)
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    def _job_ended(self, job: asyncio.Task[None]) -> None:
        error = None if job.cancelled() else job.exception()
        self._end(None if isinstance(error, aio.BaseError) else error)  # gRPC's own mean that the stream has ended

    def _end(self, error: BaseException | None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def _rotate_after(self, seconds: float) -> None:
        self._rotation = self._loop.call_later(seconds, self._rotate)

    def _rotate(self) -> None:
        if self._parts.received:
            self._rotate_after(ROTATION_RETRY_INTERVAL)
        else:
            self._stream.send(ReconnectOrder())

    async def _write(self) -> None:
        while True:
            message = await self._stream.next()
            await self._context.write(messages.outgoing(message))
            if isinstance(message, Answered):
                self._backlog.leave(message.names)

    async def _read(self) -> None:
        while isinstance(request := await self._context.read(), pb.LeaseRequest):
            match request.WhichOneof("message"):
                case "heartbeat":
                    await self._backlog.enter(len(request.heartbeat.held_leases))
                    self._submit_heartbeat(messages.heartbeat(request.heartbeat))
                case "report":
                    await self._submit_report(request.report)
                case "report_part":
                    await self._add_part(request.report_part)
                case "output":
                    self._pass_on(messages.printed(request.output))
                case "draining":
                    await self._backlog.enter(0)
                    drains = WorkerDraining(self._stream.worker_id, self._stream.session_key)
                    self._submit(drains, lambda _: self._backlog.leave(0))
                case _:
                    text = "must be heartbeat, report, report_part, output or draining after the hello"
                    raise InvalidArgument.of("message", text)

    def _submit_heartbeat(self, heartbeat: Heartbeat) -> None:
        received = self._loop.time()

        def committed(ack: Any) -> None:
            assert isinstance(ack, HeartbeatAck)
            self._service.heartbeat_committed(self._stream, heartbeat, received)
            names = len(heartbeat.held)
            self._stream.send(
                AcknowledgeHeartbeat(heartbeat.number, ack.not_renewed, ack.skipped, ack.desired_state, names=names)
            )
            if ack.desired_state.poll > heartbeat.last_poll:
                self._stream.send(PollOrder(ack.desired_state.poll))

        stream = self._stream
        item = HeartbeatItem(stream.worker_id, stream.session_key, heartbeat, stream.accepts_skipped)
        if changes_nothing(heartbeat, self._last_heartbeat):
            self._service.idle_heartbeats.put(self, partial(self._submit_now, item, committed))
        else:
            self._submit(item, committed)
        self._last_heartbeat = heartbeat

    async def _add_part(self, part: pb.ReportPart) -> None:
        if (report := self._parts.add(part)) is not None:
            await self._submit_report(report)
        else:
            await self._backlog.enter(0)
            self._stream.send(PartReceived(part.report_number, self._parts.received))

    def _pass_on(self, printed: Printed) -> None:
        """Its answer, for which the worker waits, bounds how much comes."""
        now = self._loop.time()
        if now < self._next_output_at:
            raise InvalidArgument.of("output", "must not come before the one before is answered")
        self._next_output_at = now + OUTPUT_INTERVAL
        self._loop.call_at(self._next_output_at, self._stream.send, OutputReceived())
        if self._stream.tails.get(printed.tail_id, 0.0) > now:
            self._service.printed(printed)

    async def _submit_report(self, report: pb.Report) -> None:
        await self._backlog.enter(len(report.updates))
        number, updates = report.number, messages.updates(report)

        def committed(outcomes: Any) -> None:
            results = tuple(
                (update.lease_id, update.attempt, outcome) for update, outcome in zip(updates, outcomes, strict=True)
            )
            self._stream.send(AcknowledgeReport(number, results))

        self._submit(ReportItem(updates, self._reporter), committed)

    def _submit(self, item: Item, committed: Callable[[Any], None]) -> None:
        self._service.idle_heartbeats.release(self)
        self._submit_now(item, committed)

    def _submit_now(self, item: Item, committed: Callable[[Any], None]) -> None:
        def answered(future: asyncio.Future[Answer]) -> None:
            if future.cancelled():
                return
            if error := future.exception():
                self._end(error)
            else:
                committed(future.result())

        self._reports.submit(item).add_done_callback(answered)


def _retrieve_exception(future: asyncio.Future[None]) -> None:
    """Keeps asyncio from warning about an exception that a cancelled handler no longer awaits."""
    if not future.cancelled():
        future.exception()
