"""A caller that opens watches of its account and reads none of them, and submits a batch of tasks twice a second."""

from __future__ import annotations

import argparse
import asyncio
import itertools
from contextlib import AsyncExitStack

from grpc import aio

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import child, payload

Watch = aio.UnaryStreamCall[pb.WatchTasksRequest, pb.WatchTasksResponse]

BATCH = 50
INTERVAL_S = 0.5
WATCHES_OF_A_CHANNEL = 100


async def _open(stack: AsyncExitStack, target: str, account: int, count: int) -> list[Watch]:
    """So many watches that a scheduler has taken."""
    watches: list[Watch] = []
    while len(watches) < count:
        channel = await stack.enter_async_context(_channel(target))
        stub = TaskServiceStub(channel)
        request = pb.WatchTasksRequest(account_id=account, skip_present=True)
        calls = [stub.WatchTasks(request) for _ in range(min(WATCHES_OF_A_CHANNEL, count - len(watches)))]
        await asyncio.gather(*(watch.initial_metadata() for watch in calls))
        watches += calls
    return watches


def _channel(target: str) -> aio.Channel:
    return aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    tasks = payload.tasks([arguments.account])
    async with AsyncExitStack() as stack:
        stub = TaskServiceStub(await stack.enter_async_context(_channel(arguments.target)))
        watches = await _open(stack, arguments.target, arguments.account, arguments.count)
        child.say(ready=True)
        await stdin.readline()
        end = asyncio.ensure_future(stdin.read())
        while not end.done():
            await stub.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=itertools.islice(tasks, BATCH)))
            await asyncio.wait([end], timeout=INTERVAL_S)
        for watch in watches:
            watch.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--account", type=int, required=True, help="whose tasks")
    parser.add_argument("--count", type=int, required=True, help="watches")
    child.run(_main(parser.parse_args()))
