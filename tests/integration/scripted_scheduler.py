"""The other end of a worker's stream, said line by line by a test: a real gRPC server that decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio

from contentgen.v1 import task_pb2, worker_service_pb2_grpc
from contentgen.v1 import worker_service_pb2 as pb
from tests.waiting import wait_until_async

WITHIN = 15.0
"""Seconds in which a worker has to say what a test expects of it."""
COMMITTED = pb.UPDATE_OUTCOME_COMMITTED


class Stream:
    """One stream of a worker, as the scheduler sees it."""

    def __init__(self, metadata: Iterable[tuple[str, Any]]) -> None:
        self.metadata = dict(metadata)
        self.heard: list[pb.LeaseRequest] = []
        self.over = asyncio.Event()
        self.desired_state = pb.DesiredState()
        """What its acknowledgements of states say, where a test says nothing else."""
        self._inbox: asyncio.Queue[pb.LeaseRequest] = asyncio.Queue()
        self._outbox: asyncio.Queue[pb.LeaseResponse | None] = asyncio.Queue()
        self._answering: asyncio.Task[None] | None = None

    async def hello(self) -> pb.Hello:
        """The first message, which is a hello."""
        message = await self.next()
        assert message.WhichOneof("message") == "hello"
        return message.hello

    async def next(self) -> pb.LeaseRequest:
        """The next message that was not read yet."""
        async with asyncio.timeout(WITHIN):
            return await self._inbox.get()

    async def until(self, kind: str, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """The next message of `kind` that is `wanted`; others before it are passed over, but are in `heard`."""
        async with asyncio.timeout(WITHIN):
            while True:
                message = await self._inbox.get()
                if message.WhichOneof("message") == kind and wanted(getattr(message, kind)):
                    return getattr(message, kind)

    async def update(self, kind: str, lease_id: str) -> pb.LeaseUpdate:
        """The first update of `kind` of a lease, come or still to come."""

        def found() -> list[pb.LeaseUpdate]:
            return [update for update in self.updates(kind) if update.lease_id == lease_id]

        return (await wait_until_async(found, within=WITHIN, what=f"{lease_id} is told as {kind}"))[0]

    def send(self, **message: Any) -> None:
        """One response, by its name in the oneof."""
        self._outbox.put_nowait(pb.LeaseResponse(**message))

    def end(self) -> None:
        """Ends the stream, with status OK."""
        self._outbox.put_nowait(None)

    def welcome(
        self,
        lease_ttl: float = 30.0,
        heartbeat: float = 0.5,
        keep: Iterable[str] = (),
        drop: Iterable[str] = (),
        wanted: pb.DesiredState | None = None,
        *,
        accepts_deferrals: bool = True,
        accepts_report_parts: bool = False,
        skipped: Iterable[str] = (),
    ) -> None:
        """Opens the session. The lease time is long beside a test, the heartbeat short."""
        welcome = pb.Welcome(keep_leases=keep, drop_leases=drop, desired_state=wanted, scheduler_id="scripted")
        welcome.accepts_deferrals, welcome.accepts_report_parts = accepts_deferrals, accepts_report_parts
        welcome.skipped_leases.extend(skipped)
        welcome.lease_ttl.FromTimedelta(timedelta(seconds=lease_ttl))
        welcome.heartbeat_interval.FromTimedelta(timedelta(seconds=heartbeat))
        self.send(welcome=welcome)

    def assign(self, number: int, heartbeat_number: int, *leases: pb.AssignedLease) -> None:
        """Hands leases over that were claimed on the capacity of a heartbeat."""
        self.send(assignment=pb.Assignment(number=number, heartbeat_number=heartbeat_number, leases=leases))

    def ack_heartbeat(
        self, number: int, not_renewed: Iterable[str] = (), wanted: pb.DesiredState | None = None
    ) -> None:
        """A heartbeat is committed."""
        self.send(
            acknowledgement=pb.Acknowledgement(
                heartbeat_number=number, not_renewed_leases=not_renewed, desired_state=wanted or self.desired_state
            )
        )

    def ack_report(self, report: pb.Report, outcome: pb.UpdateOutcome.ValueType = COMMITTED) -> None:
        """A report is committed, each update with the same outcome."""
        results = [pb.UpdateResult(lease_id=u.lease_id, attempt=u.attempt, outcome=outcome) for u in report.updates]
        self.send(acknowledgement=pb.Acknowledgement(report_number=report.number, results=results))

    def ack_part(self, part: pb.ReportPart) -> None:
        """A part of a report is there."""
        self.send(part_received=pb.PartReceived(report_number=part.report_number, received_bytes=len(part.data)))

    def answer_all(self, *, states: bool = True, reports: bool = True) -> None:
        """From now on acknowledges by itself what comes, beside the test that reads it."""
        self._answers = (states, reports)

    _answers = (False, False)

    def _took(self, message: pb.LeaseRequest) -> None:
        states, reports = self._answers
        self.heard.append(message)
        self._inbox.put_nowait(message)
        if states and message.HasField("heartbeat"):
            self.ack_heartbeat(message.heartbeat.number)
        if reports and message.HasField("report"):
            self.ack_report(message.report)

    def updates(self, kind: str) -> list[pb.LeaseUpdate]:
        """All updates of `kind` that came so far, read or not."""
        reports = (message.report for message in self.heard if message.HasField("report"))
        return [update for report in reports for update in report.updates if update.WhichOneof("update") == kind]


class ScriptedScheduler(worker_service_pb2_grpc.WorkerServiceServicer):
    """Takes streams, and hands them to the test."""

    def __init__(self) -> None:
        self.target = ""
        self.server = grpc.aio.server()
        self.refuse: Callable[[grpc.aio.ServicerContext[Any, Any]], Any] | None = None
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()

    async def stream(self) -> Stream:
        """The next stream that a worker opens."""
        async with asyncio.timeout(WITHIN):
            return await self._streams.get()

    async def stop(self) -> None:
        """Goes away, streams and all."""
        await self.server.stop(None)

    async def session(self, **welcome: Any) -> tuple[Stream, pb.Hello]:
        """The next stream, greeted, with everything on it acknowledged."""
        stream = await self.stream()
        hello = await stream.hello()
        stream.answer_all()
        stream.welcome(**welcome)
        return stream, hello

    async def Lease(
        self, requests: AsyncIterator[pb.LeaseRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.LeaseResponse]:
        if self.refuse is not None:
            await self.refuse(context)
        stream = Stream(context.invocation_metadata() or ())
        self._streams.put_nowait(stream)
        reading = asyncio.create_task(_read(requests, stream))
        try:
            while (message := await stream._outbox.get()) is not None:
                yield message
        finally:
            stream.over.set()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(requests: AsyncIterator[pb.LeaseRequest], stream: Stream) -> None:
    async for message in requests:
        stream._took(message)
    stream.over.set()


@asynccontextmanager
async def scripted_scheduler(port: int = 0) -> AsyncIterator[ScriptedScheduler]:
    """A scheduler on a port of its own."""
    scheduler = ScriptedScheduler()
    server = scheduler.server
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(scheduler, server)
    scheduler.target = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield scheduler
    finally:
        await scheduler.stop()


def lease(
    lease_id: str,
    *,
    attempt: int = 1,
    timeout: float = 60.0,
    topic: str = "a topic",
    account_id: int = 1,
    failed_elsewhere: bool = False,
    **options: str,
) -> pb.AssignedLease:
    """A lease to assign; `options` go to the CLI, `demo_seconds=…` as `--demo-seconds=…`."""
    assigned = pb.AssignedLease(
        lease_id=lease_id,
        attempt=attempt,
        task=task_pb2.Task(task_id=f"task-{lease_id}", topic=topic, account_id=account_id),
        failed_elsewhere=failed_elsewhere,
        creator_options={key.replace("_", "-"): value for key, value in options.items()},
    )
    assigned.timeout.FromTimedelta(timedelta(seconds=timeout))
    return assigned
