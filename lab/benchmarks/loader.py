"""Submits tasks as quickly as it can: so many calls in flight, each with a batch, or with one task by SubmitTask.

Says how many tasks were taken, when it began and ended (seconds of the machine's monotonic clock), and the CPU seconds
that it used meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from grpc import aio

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import child, payload

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

DISTINCT_CALLS = 20
"""Calls that are made before the clock runs; they are repeated in turn."""

Call = Callable[[], Awaitable[object]]


def _calls(stub: TaskServiceAsyncStub, batch: int, accounts: list[int]) -> Iterator[Call]:
    """Yields the calls to make, without end."""
    tasks = payload.tasks(accounts)
    if batch == 1:
        singles = [next(tasks) for _ in range(DISTINCT_CALLS)]
        return itertools.cycle([partial(stub.SubmitTask, single) for single in singles])
    batches = [pb.BatchSubmitTasksRequest(requests=itertools.islice(tasks, batch)) for _ in range(DISTINCT_CALLS)]
    return itertools.cycle([partial(stub.BatchSubmitTasks, request) for request in batches])


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    async with aio.insecure_channel(arguments.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        await channel.channel_ready()
        calls = _calls(TaskServiceStub(channel), arguments.batch, arguments.accounts)
        child.say(ready=True)
        await stdin.readline()
        begin, cpu = time.monotonic(), time.process_time()
        turns = iter(range(arguments.tasks // arguments.batch))

        async def caller() -> None:
            for _ in turns:
                await next(calls)()

        await asyncio.gather(*(caller() for _ in range(arguments.in_flight)))
        tasks = arguments.tasks // arguments.batch * arguments.batch
        child.say(tasks=tasks, begin=begin, end=time.monotonic(), cpu=time.process_time() - cpu)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--tasks", type=int, required=True, help="how many tasks; whole batches only")
    parser.add_argument("--batch", type=int, required=True, help="tasks a call; 1: SubmitTask")
    parser.add_argument("--in-flight", type=int, required=True, help="calls at once")
    parser.add_argument(
        "--accounts", type=child.ids, required=True, help="account ids, by comma, submitted for in turn"
    )
    child.run(_main(parser.parse_args()))
