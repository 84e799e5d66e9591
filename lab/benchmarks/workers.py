"""Workers that cost little: a session that completes leases at once, and the processes that have many of them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Self

from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from lab.benchmarks import payload
from lab.benchmarks.child import say
from tests.harness.scripted_worker import LeaseStream, hello

MAX_CONNECTING = 20
MAX_SLOTS = 1_000
"""What a hello may name; a queue ahead of the slots may be longer."""
OPTIONS = [("grpc.max_receive_message_length", 4 * 1024 * 1024), ("grpc.use_local_subchannel_pool", 1)]


class QuickWorker(LeaseStream):
    """One session on a connection of its own. Leaving it drops the connection."""

    def __init__(self, target: str, worker_id: str, depth: int) -> None:
        """`depth`: leases that it holds at most, queued or running."""
        folder_id = uuid.uuid4().hex
        greeting = hello(
            worker_id=worker_id,
            folder_id=folder_id,
            process_id=folder_id,
            hostname="benchmark",
            session_number=1,
            version="0",
            slots=min(depth, MAX_SLOTS),
        )
        super().__init__(aio.insecure_channel(target, options=OPTIONS), greeting)
        self._target = target
        self._depth = depth
        self._outgoing: asyncio.Queue[pb.LeaseRequest] = asyncio.Queue()
        self._reported: dict[int, Sequence[pb.AssignedLease]] = {}
        self._offered = 0
        self._leaving = False
        self._answered = 0

    def again(self) -> QuickWorker:
        following = QuickWorker(self._target, self.hello.worker_id, self._depth)
        following.hello.CopyFrom(self.hello)
        following.hello.session_number += 1
        return following

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._writer = asyncio.create_task(self._write())
        self._heart = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in (self._writer, self._heart):
            task.cancel()
        await asyncio.gather(self._writer, self._heart, return_exceptions=True)
        await super().__aexit__(*error)
        await self._channel.close()

    async def _write(self) -> None:
        while True:
            await self.write(await self._outgoing.get())

    async def _beat(self) -> None:
        interval = self.welcome.heartbeat_interval.ToTimedelta().total_seconds()
        while True:
            self.heartbeat()
            await asyncio.sleep(interval)

    async def messages(self) -> AsyncIterator[pb.LeaseResponse]:
        """Yields the scheduler's messages; holds what they assign."""
        while True:
            message = await self.next()
            if message.HasField("assignment"):
                self.hold(message.assignment)
                self._offered -= len(message.assignment.leases)
            yield message

    def complete(self, leases: Sequence[pb.AssignedLease], result: pb.Result) -> None:
        """Reports results alone, as a worker does whose runs end before their start is reported."""
        request = self.next_report()
        for lease in leases:
            completed = pb.Completed(result=result)
            request.report.updates.add(lease_id=lease.lease_id, attempt=lease.attempt, completed=completed)
        self._reported[request.report.number] = leases
        self._outgoing.put_nowait(request)

    def acknowledged(self, acknowledgement: pb.Acknowledgement) -> int:
        """Returns how many leases this ended. Offers capacity again once a quarter more is free than was offered."""
        if not acknowledgement.report_number:
            self._answered = acknowledgement.heartbeat_number
            return 0
        leases = self._reported.pop(acknowledgement.report_number)
        assert all(result.outcome == pb.UPDATE_OUTCOME_COMMITTED for result in acknowledgement.results), "a lost lease"
        for lease in leases:
            del self.held[lease.lease_id]
        if self._depth - len(self.held) - self._offered >= self._depth // 4:
            self.heartbeat()
        return len(leases)

    def leave(self) -> None:
        """Takes no more, so that it has `left` once all that it holds is acknowledged."""
        self._leaving = True
        self.heartbeat()

    @property
    def left(self) -> bool:
        return self._leaving and not self.held and self._answered == self._heartbeats

    def heartbeat(self) -> None:
        self._offered = 0 if self._leaving else self._depth - len(self.held)
        self._outgoing.put_nowait(self.next_heartbeat(self._offered, pb.LEASE_STAGE_FINISHED))


MAX_WAITS = 1_000
"""In a line."""


class Tally:
    """Completed leases, told to the parent as they grow."""

    def __init__(self) -> None:
        self.completed = 0
        self.at = 0.0
        self._waits_ms: list[float] = []

    def arrived(self, leases: Iterable[pb.AssignedLease]) -> None:
        """Takes the waits of their tasks, which were stamped when they were submitted."""
        now = time.monotonic()
        self._waits_ms += [round((now - payload.stamped(lease.task)) * 1e3, 2) for lease in leases]

    def add(self, count: int) -> None:
        self.completed += count
        self.at = time.monotonic()

    async def tell(self) -> None:
        reported = 0
        while True:
            if self.completed > reported or self._waits_ms:
                reported = self.completed
                say(completed=reported, at=self.at, waits_ms=self._waits_ms[:MAX_WAITS])
                del self._waits_ms[:MAX_WAITS]
            await asyncio.sleep(0.02)


async def complete_all(
    stdin: asyncio.StreamReader, *, target: str, worker_id: str, depth: int, count: int = 1, timed: bool = False
) -> None:
    """Runs so many workers that complete every lease at once, each with `depth` at most; further ids get a number.

    Says how many they have completed, and when the last of them was acknowledged (seconds of the machine's monotonic
    clock); if they are timed, also how many milliseconds each task took from its submit, when it was stamped.
    """
    tally = Tally()
    say(ready=True)
    await stdin.readline()
    connecting = asyncio.Semaphore(MAX_CONNECTING)
    ids = [worker_id, *(f"{worker_id}-{number}" for number in range(1, count))]
    workers = [QuickWorker(target, id_, depth) for id_ in ids]
    jobs: list[asyncio.Task[Any]] = [
        asyncio.create_task(_work(worker, connecting, tally, timed=timed)) for worker in workers
    ]
    jobs += [asyncio.create_task(tally.tell()), asyncio.create_task(stdin.read())]
    await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
    for job in jobs:
        job.cancel()
    for outcome in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


async def _work(stream: QuickWorker, connecting: asyncio.Semaphore, tally: Tally, *, timed: bool) -> None:
    """Runs one session after the other: the scheduler ends each after half an hour or so."""
    while True:
        async with connecting:
            await stream.__aenter__()
        try:
            await _session(stream, tally, timed=timed)
        finally:
            await stream.__aexit__()
        stream = stream.again()


async def _session(stream: QuickWorker, tally: Tally, *, timed: bool) -> None:
    result = payload.result()
    async for message in stream.messages():
        match message.WhichOneof("message"):
            case "assignment":
                if timed:
                    tally.arrived(message.assignment.leases)
                stream.complete(message.assignment.leases, result)
            case "acknowledgement":
                tally.add(stream.acknowledged(message.acknowledgement))
            case "reconnect":
                stream.leave()
            case "cancel":
                raise AssertionError("a no-op worker is told to cancel")
        if stream.left:
            return
