"""taskiq on a Redis stream: 1,000 tasks at once, acknowledged when received. `taskiq worker` with it is a worker."""

from __future__ import annotations

from typing import Any

from taskiq import TaskiqEvents
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from lab.benchmarks.peers.apps import sink
from lab.benchmarks.peers.apps.peer import OURS, RedisPeer, Scene, in_flight, task

_scene = Scene.from_environment()
broker = RedisStreamBroker(f"{_scene.redis}/0")
if _scene.job != OURS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(f"{_scene.redis}/1"))
_handler = sink.Handler()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def _begin(_: object) -> None:
    """Begins before the first message is read."""
    await _handler.begin(_scene)


@broker.task(task_name="article")
async def handle(article: dict[str, Any]) -> str | None:
    return await _handler.handle(article)


class TaskiqPeer(RedisPeer):
    _enqueued = 0

    async def open(self) -> None:
        await broker.startup()

    async def one_by_one(self, numbers: range) -> None:
        await in_flight(lambda number: handle.kiq(article=task(number)), numbers)
        self._enqueued += len(numbers)

    async def unfinished(self) -> int:
        """A task is acknowledged before it runs: only what it leaves says that it is done."""
        if _scene.job == OURS:
            done, _ = await sink.stored(_scene.postgres)
        else:
            done = await self.kept()
        return self._enqueued - done


peer = TaskiqPeer
