"""celery on Redis: `-P solo`, 200 messages prefetched, no gossip. `celery -A` of this module is a worker."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_ready

from lab.benchmarks.peers.apps.peer import OURS, RedisPeer, Scene, task
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


class CeleryPeer(RedisPeer):
    async def one_by_one(self, numbers: range) -> None:
        for number in numbers:
            handle.delay(article=task(number))

    async def unfinished(self) -> int:
        return int(await self._queue.llen("celery") + await self._queue.hlen("unacked"))


peer = CeleryPeer
