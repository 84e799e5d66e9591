"""Single submits at a rate, at random moments, and the worker that completes them: one process does both.

Says how long each task took from the call of SubmitTask to the assignment's arrival, in milliseconds, and at last how
many seconds the submits took, and their CPU seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import TYPE_CHECKING

from grpc import aio

from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import child, payload
from lab.benchmarks.quick_worker import QuickWorker

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

LINE_SAMPLES = 500
"""Samples that it says in one line."""


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
        """Completes what is assigned, for ever."""
        async for message in self._stream.messages():
            if message.HasField("assignment"):
                now = time.monotonic()
                self._assigned |= {lease.task.task_id: now for lease in message.assignment.leases}
                self._stream.complete(message.assignment.leases, self._result)
            elif message.HasField("acknowledgement"):
                self.ended += self._stream.acknowledged(message.acknowledgement)

    def latencies(self) -> list[float]:
        return [(self._assigned[task_id] - begin) * 1e3 for task_id, begin in self._begun.items()]


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    chance = random.Random(arguments.seed)
    async with (
        aio.insecure_channel(arguments.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
        QuickWorker(arguments.target, arguments.worker_id, arguments.depth) as stream,
    ):
        await channel.channel_ready()
        load = _Load(stream, TaskServiceStub(channel), arguments.accounts)
        working = asyncio.create_task(load.work())
        child.say(ready=True)
        await stdin.readline()
        begin, cpu = time.monotonic(), time.process_time()
        calls: list[asyncio.Task[None]] = []
        due = begin
        while len(calls) < arguments.tasks:
            due += chance.expovariate(arguments.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            calls.append(asyncio.create_task(load.submit()))
        submitted = time.monotonic()
        await asyncio.gather(*calls)
        while load.ended < arguments.tasks:  # noqa: ASYNC110 - it is over in a moment
            await asyncio.sleep(0.01)
        working.cancel()
        latencies = load.latencies()
        for first in range(0, len(latencies), LINE_SAMPLES):
            child.say(ms=latencies[first : first + LINE_SAMPLES])
        child.say(seconds=submitted - begin, cpu=time.process_time() - cpu)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--worker-id", required=True)
    parser.add_argument("--tasks", type=int, required=True, help="how many")
    parser.add_argument("--rate", type=float, required=True, help="tasks a second")
    parser.add_argument("--depth", type=int, default=200, help="leases that the worker holds at most")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--accounts", type=child.ids, required=True, help="account ids, by comma")
    child.run(_main(parser.parse_args()))
