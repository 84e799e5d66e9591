"""The processes of a measurement: a fleet of light workers, and single submits at a rate."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from lab.benchmarks import payload
from lab.benchmarks.callers import task_service
from lab.benchmarks.child import say
from lab.benchmarks.workers import QuickWorker, greeting_of
from tests.harness.scripted_worker import LeaseStream
from worker_svc.session.channel import ReconnectBackoff, channel_options
from worker_svc.session.scheduler_connection import WELCOME_TIMEOUT

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

LINE_SAMPLES = 500
MAX_LEASES = 200
MAX_CONNECTING = 20
"""First hellos at once; later ones are not bounded."""


@dataclass(slots=True)
class _Fleet:
    targets: list[str]
    prefix: str
    slots: int
    seconds: float
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONNECTING))
    result: pb.Result = field(default_factory=payload.result)
    completed: int = 0
    refused: int = 0


class _Worker:
    def __init__(self, fleet: _Fleet, number: int) -> None:
        self._fleet = fleet
        self._number = number
        targets = fleet.targets
        self._targets = itertools.cycle(targets[number % len(targets) :] + targets[: number % len(targets)])
        self._backoff = ReconnectBackoff()
        self._folder_id = uuid.uuid4().hex
        self._session = 0

    async def run(self) -> None:
        async with self._fleet.places:
            serving = await self._connected()
        while True:
            await serving
            await asyncio.sleep(self._backoff.pause())
            serving = await self._connected()

    async def _connected(self) -> asyncio.Task[None]:
        """Tries until a scheduler answers; the task is over when the stream is."""
        while True:
            channel = aio.insecure_channel(next(self._targets), channel_options(self._backoff.max_pause))
            stream = LeaseStream(channel, self._hello())
            try:
                async with asyncio.timeout(WELCOME_TIMEOUT):
                    await stream.__aenter__()
            except (TimeoutError, aio.AioRpcError, AssertionError):
                self._fleet.refused += 1
                await channel.close()
                await asyncio.sleep(self._backoff.pause())
            else:
                say(connected=self._number, at=time.monotonic())
                return asyncio.create_task(self._serve(stream, channel))

    def _hello(self) -> pb.Hello:
        self._session += 1
        worker_id = f"{self._fleet.prefix}-{self._number}"
        return greeting_of(worker_id, self._folder_id, self._session, max(1, self._fleet.slots))

    async def _serve(self, stream: LeaseStream, channel: aio.Channel) -> None:
        begin = time.monotonic()
        interval = stream.welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self._backoff.max_pause = interval
        async with channel:
            await _Session(self._fleet, stream).serve(interval)
            await stream.__aexit__()
        self._backoff.succeeded(time.monotonic() - begin)


class _Session:
    def __init__(self, fleet: _Fleet, stream: LeaseStream) -> None:
        self._fleet = fleet
        self._stream = stream
        self._running = 0
        self._outgoing: asyncio.Queue[pb.LeaseRequest] = asyncio.Queue()

    async def serve(self, interval: float) -> None:
        jobs = [asyncio.create_task(job) for job in (self._beat(interval), self._write(), self._read())]
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            await self._stream.write(await self._outgoing.get())

    async def _beat(self, interval: float) -> None:
        while True:
            self._heartbeat()
            await asyncio.sleep(interval)

    def _heartbeat(self) -> None:
        free = self._fleet.slots - self._running
        self._outgoing.put_nowait(self._stream.next_heartbeat(free, pb.LEASE_STAGE_ACCEPTED))

    async def _read(self) -> None:
        async with asyncio.TaskGroup() as runs:
            while True:
                message = await self._stream.next()
                if message.HasField("assignment"):
                    self._stream.hold(message.assignment)
                    self._running += len(message.assignment.leases)
                    for lease in message.assignment.leases:
                        runs.create_task(self._run(lease))

    async def _run(self, lease: pb.AssignedLease) -> None:
        """Sends three reports and a heartbeat, as `contentgen-worker` does for a task that takes a slot for a while."""
        update = partial(pb.LeaseUpdate, lease_id=lease.lease_id, attempt=lease.attempt)
        self._report(update(accepted=pb.Accepted()))
        self._report(update(processing=pb.Processing()))
        await asyncio.sleep(self._fleet.seconds)
        self._report(update(completed=pb.Completed(result=self._fleet.result)))
        del self._stream.held[lease.lease_id]
        self._running -= 1
        self._heartbeat()
        self._fleet.completed += 1
        say(completed=self._fleet.completed, at=time.monotonic())

    def _report(self, update: pb.LeaseUpdate) -> None:
        self._outgoing.put_nowait(self._stream.next_report(update))


async def run_fleet(
    stdin: asyncio.StreamReader, *, targets: list[str], count: int, prefix: str, slots: int = 0, seconds: float = 0.0
) -> None:
    """Runs many real workers, with the product's pauses, channels and time limits: they reconnect as it does.

    They are lighter than `contentgen-worker`: no guard, no CLI; a task takes so many seconds of sleep. Says when each
    hello is answered, and how many tasks are completed; answers a line with how many attempts to connect were refused.
    """
    fleet = _Fleet(targets, prefix, slots, seconds)
    say(ready=True)
    await stdin.readline()
    workers = [asyncio.create_task(_Worker(fleet, number).run()) for number in range(count)]
    while await stdin.readline():
        say(refused=fleet.refused)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


class _Load:
    def __init__(self, stream: QuickWorker, stub: TaskServiceAsyncStub, accounts: list[int]) -> None:
        self._stream = stream
        self._stub = stub
        self._requests = payload.tasks(accounts)
        self._result = payload.result()
        self._begun: dict[str, float] = {}
        self._assigned: dict[str, float] = {}
        self.ended = 0

    async def submit(self) -> None:
        begin = time.monotonic()
        answer = await self._stub.SubmitTask(next(self._requests))
        self._begun[answer.task.task_id] = begin

    async def work(self) -> None:
        async for message in self._stream.messages():
            if message.HasField("assignment"):
                now = time.monotonic()
                self._assigned |= {lease.task.task_id: now for lease in message.assignment.leases}
                self._stream.complete(message.assignment.leases, self._result)
            elif message.HasField("acknowledgement"):
                self.ended += self._stream.acknowledged(message.acknowledgement)

    def latencies(self) -> list[float]:
        return [(self._assigned[task_id] - begin) * 1e3 for task_id, begin in self._begun.items()]


async def submit_paced(
    stdin: asyncio.StreamReader, *, target: str, worker_id: str, tasks: int, rate: float, accounts: list[int]
) -> None:
    """Submits singly at a rate, at random moments, beside the worker that completes them.

    Says how long each task took from the call of SubmitTask to the assignment's arrival, in milliseconds, and at last
    how many seconds the submits took, and their CPU seconds.
    """
    chance = random.Random(1)
    async with task_service(target) as stub, QuickWorker(target, worker_id, MAX_LEASES) as stream:
        load = _Load(stream, stub, accounts)
        working = asyncio.create_task(load.work())
        say(ready=True)
        await stdin.readline()
        begin, cpu = time.monotonic(), time.process_time()
        calls: list[asyncio.Task[None]] = []
        due = begin
        while len(calls) < tasks:
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.append(asyncio.create_task(load.submit()))
        submitted = time.monotonic()
        await asyncio.gather(*calls)
        while load.ended < tasks:  # noqa: ASYNC110 - it is over in a moment
            await asyncio.sleep(0.01)
        working.cancel()
        latencies = load.latencies()
        for first in range(0, len(latencies), LINE_SAMPLES):
            say(ms=latencies[first : first + LINE_SAMPLES])
        say(seconds=submitted - begin, cpu=time.process_time() - cpu)
