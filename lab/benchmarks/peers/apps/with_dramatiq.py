"""dramatiq on Redis: 4 threads a worker process, 1,000 messages prefetched. `dramatiq` with this module is a worker."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from lab.benchmarks.peers.apps.peer import OURS, RedisPeer, Scene, task
from lab.benchmarks.peers.apps.sink import ThreadHandler

THREADS = 4
_scene = Scene.from_environment()
_handler = ThreadHandler()


class _Begin(dramatiq.Middleware):
    def before_worker_boot(self, *_: object) -> None:
        _handler.begin(_scene, THREADS)


broker = RedisBroker(url=f"{_scene.redis}/0")
broker.add_middleware(Results(backend=RedisBackend(url=f"{_scene.redis}/1")))
broker.add_middleware(_Begin())
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=_scene.job != OURS)
def handle(article: dict[str, Any]) -> str | None:
    return _handler.handle(article)


class DramatiqPeer(RedisPeer):
    async def one_by_one(self, numbers: range) -> None:
        for number in numbers:
            handle.send(article=task(number))

    async def unfinished(self) -> int:
        return int(await self._queue.hlen("dramatiq:default.msgs"))


peer = DramatiqPeer
