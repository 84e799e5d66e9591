"""The scheduler's end of WorkerService.Lease: a real gRPC server whose answers a test sends one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import to_status

from contentgen.v1 import task_pb2
from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.runtime.errors import status_of
from scheduler_svc.runtime.server import OPTIONS
from tests.harness.scripted_worker import LEASE
from tests.harness.waiting import PATIENCE_S, beside, wait_until_async

PUT_ASSET = "/contentgen.v1.WorkerService/PutAsset"
COMMITTED = pb.UPDATE_OUTCOME_COMMITTED


class Stream:
    """One stream of a worker, as the scheduler sees it."""

    def __init__(self, metadata: Iterable[tuple[str, Any]], peer: str = "") -> None:
        self.metadata = dict(metadata)
        self.peer = peer
        self.received: list[pb.LeaseRequest] = []
        self.over = asyncio.Event()
        self.desired_state = pb.DesiredState()
        """The default of heartbeat acknowledgements."""
        self._inbox: asyncio.Queue[pb.LeaseRequest] = asyncio.Queue()
        self._outbox: asyncio.Queue[pb.LeaseResponse | None] = asyncio.Queue()
        self._answers = (False, False)
        self._assignments = 0

    async def hello(self) -> pb.Hello:
        """Returns the first message, which is a hello."""
        message = await self.next()
        assert message.WhichOneof("message") == "hello"
        return message.hello

    async def next(self) -> pb.LeaseRequest:
        async with asyncio.timeout(PATIENCE_S):
            return await self._inbox.get()

    async def until(self, kind: str, wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """Returns the next message of `kind` that is `wanted`; others before it are skipped, but are in `received`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self._inbox.get()
                if message.WhichOneof("message") == kind and wanted(getattr(message, kind)):
                    return getattr(message, kind)

    async def idle(self) -> pb.Heartbeat:
        """Returns the next heartbeat that names no lease."""
        heartbeat: pb.Heartbeat = await self.until("heartbeat", lambda beat: not beat.held_leases)
        return heartbeat

    async def grant(
        self, *leases: pb.AssignedLease, wanted: Callable[[pb.Heartbeat], bool] = lambda _: True
    ) -> pb.Heartbeat:
        """Assigns leases on the next heartbeat that is `wanted`, which it returns."""
        heartbeat: pb.Heartbeat = await self.until("heartbeat", wanted)
        self.assign(self._assignments + 1, heartbeat.number, *leases)
        return heartbeat

    async def update(self, kind: str, lease_id: str) -> pb.LeaseUpdate:
        """Returns the first update of `kind` of a lease; waits for it."""

        def updates() -> list[pb.LeaseUpdate]:
            return [update for update in self.updates(kind) if update.lease_id == lease_id]

        return (await wait_until_async(updates, within=PATIENCE_S, what=f"{lease_id} is reported as {kind}"))[0]

    def send(self, **message: Any) -> None:
        """Sends one response, by its name in the oneof."""
        self._outbox.put_nowait(pb.LeaseResponse(**message))

    def end(self) -> None:
        """Ends the stream, with status OK."""
        self._outbox.put_nowait(None)

    def welcome(self, *, lease_ttl: float = 30.0, heartbeat: float = 0.5, **fields: Any) -> None:
        """Opens the session. The lease time is long compared with a test, the heartbeat interval short."""
        welcome = pb.Welcome(**{"scheduler_id": "scripted", "accepts_deferrals": True, **fields})
        welcome.lease_ttl.FromTimedelta(timedelta(seconds=lease_ttl))
        welcome.heartbeat_interval.FromTimedelta(timedelta(seconds=heartbeat))
        self.send(welcome=welcome)

    def assign(self, number: int, heartbeat_number: int, *leases: pb.AssignedLease) -> None:
        """Assigns leases that were claimed on the capacity of a heartbeat."""
        self._assignments = number
        self.send(assignment=pb.Assignment(number=number, heartbeat_number=heartbeat_number, leases=leases))

    def ack_heartbeat(
        self, number: int, not_renewed: Iterable[str] = (), desired: pb.DesiredState | None = None
    ) -> None:
        self.send(
            acknowledgement=pb.Acknowledgement(
                heartbeat_number=number, not_renewed_leases=not_renewed, desired_state=desired or self.desired_state
            )
        )

    def ack_report(self, report: pb.Report, outcome: pb.UpdateOutcome.ValueType = COMMITTED) -> None:
        """Acknowledges a report, each update with the same outcome."""
        results = [pb.UpdateResult(lease_id=u.lease_id, attempt=u.attempt, outcome=outcome) for u in report.updates]
        self.send(acknowledgement=pb.Acknowledgement(report_number=report.number, results=results))

    def ack_part(self, part: pb.ReportPart) -> None:
        self.send(part_received=pb.PartReceived(report_number=part.report_number, received_bytes=len(part.data)))

    def answer_all(self, *, heartbeats: bool = True, reports: bool = True) -> None:
        """From now on acknowledges by itself what comes; the test can read it all the same."""
        self._answers = (heartbeats, reports)

    def receive(self, message: pb.LeaseRequest) -> None:
        heartbeats, reports = self._answers
        self.received.append(message)
        self._inbox.put_nowait(message)
        if heartbeats and message.HasField("heartbeat"):
            self.ack_heartbeat(message.heartbeat.number)
        if reports and message.HasField("report"):
            self.ack_report(message.report)

    def updates(self, kind: str) -> list[pb.LeaseUpdate]:
        """Returns all updates of `kind` received so far, read or not."""
        reports = (message.report for message in self.received if message.HasField("report"))
        return [update for report in reports for update in report.updates if update.WhichOneof("update") == kind]


class ScriptedScheduler(grpc.GenericRpcHandler):
    """WorkerService, in bytes, since one may lie: hands each stream to the test, and takes assets."""

    def __init__(self) -> None:
        self.target = ""
        self.server = grpc.aio.server(handlers=[self], options=OPTIONS)
        self.refuse: Callable[[grpc.aio.ServicerContext[Any, Any]], Any] | None = None
        self.streams: asyncio.Queue[Stream] = asyncio.Queue()
        self.assets: list[bytes] = []
        """What was uploaded, in order."""
        self.asset_peers: list[str] = []
        """The address from which each upload came, refused ones included."""
        self.refuse_assets: list[grpc.StatusCode | DomainError | Status] = []
        """How the next uploads fail."""
        self.takes_assets = asyncio.Event()
        """Uploads wait for it; set at first."""
        self.takes_assets.set()

    async def stream(self) -> Stream:
        async with asyncio.timeout(PATIENCE_S):
            return await self.streams.get()

    async def stop(self) -> None:
        await self.server.stop(None)

    async def session(self, **welcome: Any) -> tuple[Stream, pb.Hello]:
        """Returns the next stream, welcomed, with everything on it acknowledged."""
        stream = await self.stream()
        hello = await stream.hello()
        stream.answer_all()
        stream.welcome(**welcome)
        return stream, hello

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if details.method == PUT_ASSET:
            return grpc.stream_unary_rpc_method_handler(self.put_asset)
        return grpc.stream_stream_rpc_method_handler(self.lease) if details.method == LEASE else None

    async def put_asset(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        """Takes an upload. Refuses one after its first message, as a scheduler does, so that no write fails before."""
        await self.takes_assets.wait()
        self.asset_peers.append(context.peer())
        first = pb.PutAssetRequest.FromString(await anext(requests))
        if self.refuse_assets:
            refusal = self.refuse_assets.pop(0)
            if not isinstance(refusal, grpc.StatusCode):
                status = status_of(refusal) if isinstance(refusal, DomainError) else refusal
                await context.abort_with_status(to_status(status))
            await context.abort(refusal, "a test refuses it")
        await context.send_initial_metadata((("asset-wanted", "true"),))
        chunks = [pb.PutAssetRequest.FromString(request).chunk async for request in requests]
        self.assets.append(b"".join([first.chunk, *chunks]))
        return pb.PutAssetResponse().SerializeToString()

    async def lease(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        if self.refuse is not None:
            await self.refuse(context)
        stream = Stream(context.invocation_metadata() or (), context.peer())
        self.streams.put_nowait(stream)
        async with beside(_read(requests, stream)):
            try:
                while (message := await stream._outbox.get()) is not None:
                    yield message.SerializeToString()
            finally:
                stream.over.set()


def held(message: pb.Hello | pb.Heartbeat) -> list[str]:
    return [lease.lease_id for lease in message.held_leases]


def stages(message: pb.Hello | pb.Heartbeat) -> dict[str, int]:
    """Returns how far each lease is that is held."""
    return {lease.lease_id: lease.stage for lease in message.held_leases}


async def _read(requests: AsyncIterator[bytes], stream: Stream) -> None:
    async for request in requests:
        stream.receive(pb.LeaseRequest.FromString(request))
    stream.over.set()


@asynccontextmanager
async def scripted_scheduler(port: int = 0) -> AsyncIterator[ScriptedScheduler]:
    scheduler = ScriptedScheduler()
    async with serving(scheduler, port):
        yield scheduler


@asynccontextmanager
async def serving(scheduler: ScriptedScheduler, port: int = 0) -> AsyncIterator[None]:
    """Serves within the block; port 0 takes a free one."""
    scheduler.target = f"127.0.0.1:{scheduler.server.add_insecure_port(f'127.0.0.1:{port}')}"
    await scheduler.server.start()
    try:
        yield
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
    """Returns a lease to assign; `options` go to the CLI, `demo_seconds=…` as `--demo-seconds=…`."""
    assigned = pb.AssignedLease(
        lease_id=lease_id,
        attempt=attempt,
        task=task_pb2.Task(task_id=f"task-{lease_id}", topic=topic, account_id=account_id),
        failed_elsewhere=failed_elsewhere,
        creator_options={key.replace("_", "-"): value for key, value in options.items()},
    )
    assigned.timeout.FromTimedelta(timedelta(seconds=timeout))
    return assigned
