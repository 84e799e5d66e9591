"""celery on Redis: `-P solo`, 200 messages prefetched, no gossip. `celery -A` of this module is a worker."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_ready
from redis import Redis

from lab.benchmarks.peers.apps.peer import OURS, Peer, Scene, task
from lab.benchmarks.peers.apps.sink import ThreadHandler

_scene = Scene.from_environment()
app = Celery("articles", broker=f"{_scene.redis}/0", backend=f"{_scene.redis}/1")
_handler = ThreadHandler()
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


@worker_ready.connect
def _begin(**_: object) -> None:
    """Begins before the first message is read: a solo worker has one thread."""
    _handler.begin(_scene, 1)


@app.task(name="article", ignore_result=_scene.job == OURS)
def handle(article: dict[str, Any]) -> str | None:
    return _handler.handle(article)


class CeleryPeer(Peer):
    def __init__(self, _: Scene) -> None:
        self._broker = Redis.from_url(f"{_scene.redis}/0")
        self._results = Redis.from_url(f"{_scene.redis}/1")

    async def one_by_one(self, numbers: range) -> None:
        for number in numbers:
            handle.delay(article=task(number))

    async def unfinished(self) -> int:
        return int(self._broker.llen("celery") + self._broker.hlen("unacked"))

    async def kept(self) -> int:
        return int(self._results.dbsize())


peer = CeleryPeer
