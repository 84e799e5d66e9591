"""How long a task takes from its submit to its worker: one process does both, one task at a time.

Says each sample, in milliseconds of the monotonic clock, from the call of SubmitTask to the assignment's arrival; and
beside it the floor, a call of the same message to a bare server, after a pause of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import TYPE_CHECKING

from grpc import aio

from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import child, payload
from lab.benchmarks.quick_worker import QuickWorker

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

PAUSE_S = (0.005, 0.02)
"""Between two samples, so that each of them finds an idle system."""


class _Probe:
    def __init__(self, stream: QuickWorker) -> None:
        self._messages = stream.messages()
        self._stream = stream
        self._result = payload.result()

    async def assigned(self) -> pb.Assignment:
        while True:
            message = await anext(self._messages)
            if message.HasField("assignment"):
                return message.assignment

    async def complete(self, assignment: pb.Assignment) -> None:
        """Completes it, and waits until that and a heartbeat with its whole capacity are acknowledged."""
        self._stream.complete(assignment.leases, self._result)
        count = 0
        while count < len(assignment.leases):
            message = await anext(self._messages)
            if message.HasField("acknowledgement"):
                count += self._stream.acknowledged(message.acknowledgement)
        self._stream.heartbeat()
        await self.acknowledged_heartbeat()

    async def acknowledged_heartbeat(self) -> None:
        while not (await anext(self._messages)).acknowledgement.heartbeat_number:
            pass


async def _call_ms(bare: TaskServiceAsyncStub, request: task_pb.SubmitTaskRequest) -> float:
    await asyncio.sleep(random.uniform(*PAUSE_S))
    begin = time.monotonic()
    await bare.SubmitTask(request)
    return (time.monotonic() - begin) * 1e3


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    requests = payload.tasks(arguments.accounts)
    async with (
        aio.insecure_channel(arguments.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
        aio.insecure_channel(arguments.floor, options=[("grpc.use_local_subchannel_pool", 1)]) as bare_channel,
        QuickWorker(arguments.target, arguments.worker_id, depth=4) as stream,
    ):
        stub, bare = TaskServiceStub(channel), TaskServiceStub(bare_channel)
        await channel.channel_ready()
        await bare_channel.channel_ready()
        probe = _Probe(stream)
        await probe.acknowledged_heartbeat()
        child.say(ready=True)
        await stdin.readline()
        for _ in range(arguments.samples):
            await asyncio.sleep(random.uniform(*PAUSE_S))
            begin = time.monotonic()
            submit = stub.SubmitTask(next(requests))
            assignment = await probe.assigned()
            end = time.monotonic()
            await submit
            await probe.complete(assignment)
            child.say(ms=(end - begin) * 1e3, floor_ms=await _call_ms(bare, next(requests)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--floor", required=True, help="host:port of a bare server")
    parser.add_argument("--worker-id", required=True, help="of its own stream")
    parser.add_argument("--samples", type=int, required=True, help="how many")
    parser.add_argument("--accounts", type=child.ids, required=True, help="account ids, by comma")
    child.run(_main(parser.parse_args()))
