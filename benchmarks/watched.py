"""What one account's unread watches cost another account's calls."""

from __future__ import annotations

import asyncio
import random
import time

from grpc import aio

from benchmarks import payload
from benchmarks.child import Child
from benchmarks.goals import UNREAD_WATCHES, Figure
from benchmarks.stack import Stack
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub

PAUSE_S = (0.005, 0.02)
"""Between two calls."""


async def figures(stack: Stack, watches: int, samples: int) -> list[Figure]:
    """GetTask of one account, while another one submits: beside its unread watches, against without them."""
    without = await _get_task_ms(stack, 0, samples)
    beside = await _get_task_ms(stack, watches, samples)
    return [_figure(name, share, without, beside, watches) for name, share in (("p50", 0.5), ("p99", 0.99))]


def _figure(name: str, share: float, without: list[float], beside: list[float], watches: int) -> Figure:
    before, now = (times[int(len(times) * share)] for times in (without, beside))
    note = f"{now:.1f} ms; without them {before:.1f} ms"
    title = f"GetTask beside {watches:,} unread watches of another account, {name}"
    return Figure(title, now / before, "times", len(beside), UNREAD_WATCHES, note)


async def _get_task_ms(stack: Stack, watches: int, samples: int) -> list[float]:
    """Milliseconds of so many calls, one after the other, the shortest first."""
    own, other = stack.accounts[:2]
    async with (
        Child("unread_watches", stack.folder, "watches", target=stack.target, account=other, count=watches) as one,
        aio.insecure_channel(stack.target) as channel,
    ):
        stub = TaskServiceStub(channel)
        task_id = (await stub.SubmitTask(next(payload.tasks([own])))).task.task_id
        one.go()
        times = []
        for _ in range(samples):
            await asyncio.sleep(random.uniform(*PAUSE_S))
            begin = time.monotonic()
            await stub.GetTask(pb.GetTaskRequest(task_id=task_id))
            times.append((time.monotonic() - begin) * 1e3)
    return sorted(times)
