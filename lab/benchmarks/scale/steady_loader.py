"""Submits so many tasks a second, whatever comes back: stamped ones, nine tenths of them in batches of ten.

Says how many were taken once all are, and by how much its latest call was late: then the rate was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from grpc import aio

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import child, payload

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

_CALLS = (1, *(10, 1) * 9)
"""Of so many tasks, again and again."""
_MAX_IN_FLIGHT = 256


def sizes(tasks: int) -> Iterator[tuple[int, int]]:
    """Yields what the calls are of, each with how many tasks went before."""
    offset = 0
    while True:
        for size in _CALLS:
            if offset + size > tasks:
                return
            yield size, offset
            offset += size


async def _submit(stub: TaskServiceAsyncStub, requests: list[pb.SubmitTaskRequest]) -> None:
    for request in requests:
        payload.stamp(request)
    if len(requests) == 1:
        await stub.SubmitTask(requests[0])
    else:
        await stub.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=requests))


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    async with aio.insecure_channel(arguments.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        await channel.channel_ready()
        stub = TaskServiceStub(channel)
        tasks = payload.tasks(arguments.accounts)
        child.say(ready=True)
        await stdin.readline()
        places = asyncio.Semaphore(_MAX_IN_FLIGHT)
        begin, late, submitted = time.monotonic(), 0.0, 0

        async def call(requests: list[pb.SubmitTaskRequest]) -> None:
            async with places:
                await _submit(stub, requests)

        async with asyncio.TaskGroup() as group:
            for size, offset in sizes(arguments.rate * arguments.seconds):
                due = begin + offset / arguments.rate
                late = max(late, time.monotonic() - due)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(call(list(islice(tasks, size))))
                submitted = offset + size
        child.say(submitted=submitted, late_s=late)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--rate", type=int, required=True, help="tasks a second")
    parser.add_argument("--seconds", type=int, required=True, help="for how long")
    parser.add_argument("--accounts", type=child.ids, required=True, help="account ids, by comma, in turn")
    child.run(_main(parser.parse_args()))
