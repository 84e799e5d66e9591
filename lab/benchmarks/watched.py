"""What one account's unread watches cost another account's calls."""

from __future__ import annotations

import asyncio
import random
import time

from grpc import aio

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.benchmarks import payload
from lab.benchmarks.child import Child
from lab.benchmarks.goals import UNREAD_WATCHES, Figure
from lab.benchmarks.stack import Stack

PAUSE_S = (0.005, 0.02)
"""Between two calls."""


async def figures(stack: Stack, watches: int, samples: int) -> list[Figure]:
    """GetTask of one account, while another one submits: beside its unread watches, against without them."""
    quiet = await _get_task_ms(stack, 0, samples)
    watched = await _get_task_ms(stack, watches, samples)
    return [_figure(name, share, quiet, watched, watches) for name, share in (("p50", 0.5), ("p99", 0.99))]


def _figure(name: str, share: float, quiet: list[float], watched: list[float], watches: int) -> Figure:
    quiet_ms, watched_ms = (times[int(len(times) * share)] for times in (quiet, watched))
    note = f"{watched_ms:.1f} ms; without them {quiet_ms:.1f} ms"
    title = f"GetTask beside {watches:,} unread watches of another account, {name}"
    return Figure(title, watched_ms / quiet_ms, "times", len(watched), UNREAD_WATCHES, note)


async def _get_task_ms(stack: Stack, watches: int, samples: int) -> list[float]:
    """Returns the milliseconds of so many calls, one after the other, the shortest first."""
    account, watched_account = stack.accounts[:2]
    async with (
        Child(
            "unread_watches", stack.folder, "watches", target=stack.target, account=watched_account, count=watches
        ) as child,
        aio.insecure_channel(stack.target) as channel,
    ):
        stub = TaskServiceStub(channel)
        task_id = (await stub.SubmitTask(next(payload.tasks([account])))).task.task_id
        child.go()
        times = []
        for _ in range(samples):
            await asyncio.sleep(random.uniform(*PAUSE_S))
            begin = time.monotonic()
            await stub.GetTask(pb.GetTaskRequest(task_id=task_id))
            times.append((time.monotonic() - begin) * 1e3)
    return sorted(times)
