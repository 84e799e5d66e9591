"""Processes that call a scheduler: as quickly as they can, at a steady pace, or one task at a time.

They have nothing in common with the callers of `tests.harness.load`, which are threads with the product's client, and
judge what they are answered: these cost as little as a caller can, on event loops with plain stubs, and measure time.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

import grpc
from grpc import aio

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import payload
from lab.benchmarks.child import say
from lab.benchmarks.workers import QuickWorker

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

Call = Callable[[], Awaitable[object]]

DISTINCT_CALLS = 20
"""Calls that are made before the clock runs; they are repeated in turn."""
RATES = {"SubmitTask": 40, "GetTask": 40, "ListTasks": 20, "GetTaskStats": 20}
"""Calls a second, at the usual pace."""
PAUSE_S = (0.005, 0.02)
"""Between two samples, so that each of them finds an idle system."""


@asynccontextmanager
async def task_service(target: str) -> AsyncIterator[TaskServiceAsyncStub]:
    async with aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        await channel.channel_ready()
        yield TaskServiceStub(channel)


async def submit_all(
    stdin: asyncio.StreamReader, *, target: str, tasks: int, batch: int, in_flight: int, accounts: list[int]
) -> None:
    """Submits whole batches as quickly as it can, so many calls in flight; a batch of 1: by SubmitTask.

    Says how many tasks were taken, when it began and ended (seconds of the machine's monotonic clock), and the CPU
    seconds that it used meanwhile.
    """
    async with task_service(target) as stub:
        calls = _calls(stub, batch, accounts)
        say(ready=True)
        await stdin.readline()
        begin, cpu = time.monotonic(), time.process_time()
        turns = iter(range(tasks // batch))

        async def caller() -> None:
            for _ in turns:
                await next(calls)()

        await asyncio.gather(*(caller() for _ in range(in_flight)))
        end, used = time.monotonic(), time.process_time() - cpu
        say(tasks=tasks // batch * batch, begin=begin, end=end, cpu=used)


def _calls(stub: TaskServiceAsyncStub, batch: int, accounts: list[int]) -> Iterator[Call]:
    tasks = payload.tasks(accounts)
    if batch == 1:
        return itertools.cycle([partial(stub.SubmitTask, next(tasks)) for _ in range(DISTINCT_CALLS)])
    batches = [pb.BatchSubmitTasksRequest(requests=islice(tasks, batch)) for _ in range(DISTINCT_CALLS)]
    return itertools.cycle([partial(stub.BatchSubmitTasks, request) for request in batches])


async def submit_steadily(
    stdin: asyncio.StreamReader, *, target: str, rate: int, seconds: int, accounts: list[int]
) -> None:
    """Submits so many stamped tasks a second, whatever comes back, nine tenths of them in batches of ten.

    Says how many were taken once all are, and by how much its latest call was late: then the rate was not kept.
    """
    async with task_service(target) as stub:
        tasks = payload.tasks(accounts)
        say(ready=True)
        await stdin.readline()
        places = asyncio.Semaphore(256)
        begin, late, submitted = time.monotonic(), 0.0, 0

        async def call(requests: list[pb.SubmitTaskRequest]) -> None:
            async with places:
                for request in requests:
                    payload.stamp(request)
                if len(requests) == 1:
                    await stub.SubmitTask(requests[0])
                else:
                    await stub.BatchSubmitTasks(pb.BatchSubmitTasksRequest(requests=requests))

        async with asyncio.TaskGroup() as group:
            for size, offset in steady_sizes(rate * seconds):
                due = begin + offset / rate
                late = max(late, time.monotonic() - due)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(call(list(islice(tasks, size))))
                submitted = offset + size
        say(submitted=submitted, late_s=late)


def steady_sizes(tasks: int) -> Iterator[tuple[int, int]]:
    """Yields of how many tasks each call is, again and again, with how many went before."""
    offset = 0
    for size in itertools.cycle((1, *(10, 1) * 9)):
        if offset + size > tasks:
            return
        yield size, offset
        offset += size


async def call_steadily(stdin: asyncio.StreamReader, *, target: str, accounts: list[int], pace: int) -> None:
    """Submits stamped tasks one by one and reads, at so many percent of `RATES`.

    A line on its stdin is answered with the milliseconds that calls have taken since the line before, by method.
    """
    async with task_service(target) as stub:
        # GetTask is of the newest that had ended when it began.
        newest = pb.ListTasksRequest(statuses=[task_pb2.TASK_STATUS_COMPLETED], page_size=1_000)
        calls = _mixed_calls(stub, accounts, [task.task_id for task in (await stub.ListTasks(newest)).tasks])
        times: dict[str, list[float]] = defaultdict(list)
        say(ready=True)
        async with asyncio.TaskGroup() as group:
            paces = [
                group.create_task(_pace(call, RATES[method] * pace / 100, times[method]))
                for method, call in calls.items()
            ]
            while await stdin.readline():
                say(**{method: [round(value, 2) for value in ms] for method, ms in times.items()})
                for ms in times.values():
                    ms.clear()
            for task in paces:
                task.cancel()


def _mixed_calls(stub: TaskServiceAsyncStub, accounts: list[int], task_ids: list[str]) -> dict[str, Call]:
    tasks, chance = payload.tasks(accounts), random.Random(4)
    completed = pb.ListTasksRequest(statuses=[task_pb2.TASK_STATUS_COMPLETED])
    lists = itertools.cycle([pb.ListTasksRequest(), pb.ListTasksRequest(account_id=accounts[0]), completed])

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


async def probe(
    stdin: asyncio.StreamReader, *, target: str, floor: str, worker_id: str, samples: int, accounts: list[int]
) -> None:
    """Submits a task and is its worker, one task at a time: how long does it take to the assignment's arrival?

    Says each sample, in milliseconds of the monotonic clock, and beside it the floor, a call of the same message to a
    bare server, after a pause of its own.
    """
    requests, result = payload.tasks(accounts), payload.result()
    async with (
        task_service(target) as stub,
        task_service(floor) as bare,
        QuickWorker(target, worker_id, depth=4) as stream,
    ):
        messages = stream.messages()
        await _acknowledged_heartbeat(messages)
        say(ready=True)
        await stdin.readline()
        for _ in range(samples):
            await asyncio.sleep(random.uniform(*PAUSE_S))
            begin = time.monotonic()
            submit = stub.SubmitTask(next(requests))
            while not (message := await anext(messages)).HasField("assignment"):
                pass
            end = time.monotonic()
            await submit
            stream.complete(message.assignment.leases, result)
            while stream.held:
                if (message := await anext(messages)).HasField("acknowledgement"):
                    stream.acknowledged(message.acknowledgement)
            stream.heartbeat()  # its whole capacity
            await _acknowledged_heartbeat(messages)
            await asyncio.sleep(random.uniform(*PAUSE_S))
            floor_begin = time.monotonic()
            await bare.SubmitTask(next(requests))
            say(ms=(end - begin) * 1e3, floor_ms=(time.monotonic() - floor_begin) * 1e3)


async def _acknowledged_heartbeat(messages: AsyncIterator[worker_pb.LeaseResponse]) -> None:
    while not (await anext(messages)).acknowledgement.heartbeat_number:
        pass


async def serve_bare(stdin: asyncio.StreamReader) -> None:
    """Serves SubmitTask barely: the task comes back as it came, nothing is stored. What gRPC itself costs here."""

    async def echo(request: pb.SubmitTaskRequest, _context: object) -> pb.SubmitTaskResponse:
        task = task_pb2.Task(topic=request.topic, keywords=request.keywords, requirements=request.requirements)
        return pb.SubmitTaskResponse(task=task)

    server = aio.server()
    submit = grpc.unary_unary_rpc_method_handler(
        echo, pb.SubmitTaskRequest.FromString, pb.SubmitTaskResponse.SerializeToString
    )
    service = pb.DESCRIPTOR.services_by_name["TaskService"].full_name
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"SubmitTask": submit})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(target=f"127.0.0.1:{port}")
    await stdin.read()
    await server.stop(None)
