"""Many real workers in one process, with the product's pauses, channels and time limits: they reconnect as it does.

They are lighter than `contentgen-worker`: no guard, no CLI; a task takes so many seconds of sleep. Says when each hello
is answered, and how many tasks are completed; answers a line with how many attempts to connect were refused.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence
from functools import partial

from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from lab.benchmarks import child, payload
from tests.harness.scripted_worker import LeaseStream, hello
from worker_svc.config import addresses
from worker_svc.session.channel import ReconnectBackoff, channel_options
from worker_svc.session.scheduler_connection import WELCOME_TIMEOUT

MAX_CONNECTING = 20
"""First hellos at once; later ones are not bounded."""


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
                child.say(connected=self._number, at=time.monotonic())
                return asyncio.create_task(self._serve(stream, channel))

    def _hello(self) -> pb.Hello:
        self._session += 1
        return hello(
            worker_id=f"{self._fleet.prefix}-{self._number}",
            folder_id=self._folder_id,
            session_number=self._session,
            process_id=self._folder_id,
            hostname="benchmark",
            version="0",
            slots=max(1, self._fleet.slots),
        )

    async def _serve(self, stream: LeaseStream, channel: aio.Channel) -> None:
        begin = time.monotonic()
        interval = stream.welcome.heartbeat_interval.ToTimedelta().total_seconds()
        self._backoff.max_pause = interval
        async with channel:
            await _Session(self._fleet, stream).serve(interval)
            await stream.__aexit__()
        self._backoff.succeeded(time.monotonic() - begin)


class _Session:
    """A stream from its welcome to its end."""

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
        """Three reports and a heartbeat, as `contentgen-worker` sends them for a task that takes a slot for a while."""
        update = partial(pb.LeaseUpdate, lease_id=lease.lease_id, attempt=lease.attempt)
        self._report(update(accepted=pb.Accepted()))
        self._report(update(processing=pb.Processing()))
        await asyncio.sleep(self._fleet.seconds)
        self._report(update(completed=pb.Completed(result=self._fleet.result)))
        del self._stream.held[lease.lease_id]
        self._running -= 1
        self._heartbeat()
        self._fleet.completed += 1
        child.say(completed=self._fleet.completed, at=time.monotonic())

    def _report(self, update: pb.LeaseUpdate) -> None:
        self._outgoing.put_nowait(self._stream.next_report(update))


class _Fleet:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.targets = addresses(arguments.targets)
        self.prefix: str = arguments.prefix
        self.slots: int = arguments.slots
        self.seconds: float = arguments.seconds
        self.places = asyncio.Semaphore(MAX_CONNECTING)
        self.result = payload.result()
        self.completed = self.refused = 0

    async def run(self, numbers: Sequence[int]) -> None:
        stdin = await child.stdin_reader()
        child.say(ready=True)
        await stdin.readline()
        workers = [asyncio.create_task(_Worker(self, number).run()) for number in numbers]
        while await stdin.readline():
            child.say(refused=self.refused)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", required=True, help="host:port of the schedulers, by comma")
    parser.add_argument("--count", type=int, required=True, help="how many workers")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--prefix", default="fleet", help="of their ids")
    parser.add_argument("--slots", type=int, default=0, help="that each has; 0: it takes nothing")
    parser.add_argument("--seconds", type=float, default=0.0, help="that each task takes")
    options = parser.parse_args()
    child.run(_Fleet(options).run(range(options.first, options.first + options.count)))
