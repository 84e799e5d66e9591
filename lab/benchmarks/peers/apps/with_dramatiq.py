"""dramatiq on Redis: 4 threads a worker process, 1,000 messages prefetched. `dramatiq` with this module is a worker."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from redis import Redis

from lab.benchmarks.peers.apps import sink
from lab.benchmarks.peers.apps.peer import Peer
from lab.benchmarks.peers.apps.scene import OURS, RESULT, Scene, task
from lab.benchmarks.peers.apps.tally import Tally

THREADS = 4
_scene = Scene.told()


class _Handler(dramatiq.Middleware):
    """What a worker process has, before its threads start."""

    tally: Tally
    store: sink.ThreadSink | None = None

    def before_worker_boot(self, *_: object) -> None:
        if _scene.job == OURS:
            _Handler.store = sink.ThreadSink(_scene.postgres, THREADS)
        _Handler.tally = Tally(_scene.folder)
        _Handler.tally.wait_for_go()


broker = RedisBroker(url=f"{_scene.redis}/0")
broker.add_middleware(Results(backend=RedisBackend(url=f"{_scene.redis}/1")))
broker.add_middleware(_Handler())
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=_scene.job != OURS)
def handle(article: dict[str, Any]) -> str | None:
    _Handler.tally.add()
    if _Handler.store:
        _Handler.store.store(article)
        return None
    return RESULT


class DramatiqPeer(Peer):
    """Its side that enqueues."""

    def __init__(self) -> None:
        self._queue = Redis.from_url(f"{_scene.redis}/0")
        self._results = Redis.from_url(f"{_scene.redis}/1")

    async def one_by_one(self, numbers: range) -> None:
        for number in numbers:
            handle.send(article=task(number))

    async def unfinished(self) -> int:
        return int(self._queue.hlen("dramatiq:default.msgs"))

    async def kept(self) -> int:
        return int(self._results.dbsize())


def peer(_: Scene) -> DramatiqPeer:
    return DramatiqPeer()
