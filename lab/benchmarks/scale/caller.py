"""Calls a scheduler at a steady pace: submits stamped tasks one by one, and reads.

A line on its stdin is answered with the milliseconds that calls have taken since the line before, by method.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

from grpc import aio

from contentgen.v1 import task_pb2 as task_pb
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import child, payload

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

RATES = {"SubmitTask": 40, "GetTask": 40, "ListTasks": 20, "GetTaskStats": 20}
"""Calls a second, at the usual pace."""
_READ = 1_000
"""GetTask is of so many tasks: the newest that had ended when it began."""

Call = Callable[[], Awaitable[object]]


def _calls(stub: TaskServiceAsyncStub, accounts: list[int], task_ids: list[str]) -> dict[str, Call]:
    tasks, chance, lists = payload.tasks(accounts), random.Random(4), itertools.cycle(_lists(accounts[0]))

    def submit() -> Awaitable[object]:
        request = next(tasks)
        payload.stamp(request)
        return stub.SubmitTask(request)

    return {
        "SubmitTask": submit,
        "GetTask": lambda: stub.GetTask(pb.GetTaskRequest(task_id=chance.choice(task_ids))),
        "ListTasks": lambda: stub.ListTasks(next(lists)),
        "GetTaskStats": lambda: stub.GetTaskStats(pb.GetTaskStatsRequest()),
    }


def _lists(account_id: int) -> Iterator[pb.ListTasksRequest]:
    yield pb.ListTasksRequest()
    yield pb.ListTasksRequest(account_id=account_id)
    yield pb.ListTasksRequest(statuses=[task_pb.TASK_STATUS_COMPLETED])


async def _task_ids(stub: TaskServiceAsyncStub) -> list[str]:
    page = await stub.ListTasks(pb.ListTasksRequest(statuses=[task_pb.TASK_STATUS_COMPLETED], page_size=_READ))
    return [task.task_id for task in page.tasks]


async def _pace(call: Call, rate: float, times: list[float]) -> NoReturn:
    """Calls when it is due, whether the call before has ended or not."""
    begin = time.monotonic()

    async def timed() -> None:
        called = time.monotonic()
        await call()
        times.append((time.monotonic() - called) * 1e3)

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            await asyncio.sleep(begin + number / rate - time.monotonic())
            group.create_task(timed())
    raise AssertionError("it never ends")


async def _answer(stdin: asyncio.StreamReader, times: dict[str, list[float]]) -> None:
    while await stdin.readline():
        child.say(**{method: [round(value, 2) for value in ms] for method, ms in times.items()})
        for ms in times.values():
            ms.clear()


async def _main(arguments: argparse.Namespace) -> None:
    stdin = await child.stdin_reader()
    async with aio.insecure_channel(arguments.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = TaskServiceStub(channel)
        calls = _calls(stub, arguments.accounts, await _task_ids(stub))
        times: dict[str, list[float]] = defaultdict(list)
        child.say(ready=True)
        async with asyncio.TaskGroup() as group:
            paces = [
                group.create_task(_pace(call, RATES[method] * arguments.pace / 100, times[method]))
                for method, call in calls.items()
            ]
            await _answer(stdin, times)
            for pace in paces:
                pace.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the scheduler")
    parser.add_argument("--accounts", type=child.ids, required=True, help="account ids, by comma")
    parser.add_argument("--pace", type=int, default=100, help="percent of the usual calls a second")
    child.run(_main(parser.parse_args()))
