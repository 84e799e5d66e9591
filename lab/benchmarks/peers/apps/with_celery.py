"""celery on Redis: `-P solo`, 200 messages prefetched, no gossip. `celery -A` of this module is a worker."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_ready
from redis import Redis

from lab.benchmarks.peers.apps import sink
from lab.benchmarks.peers.apps.peer import Peer
from lab.benchmarks.peers.apps.scene import OURS, RESULT, Scene, task
from lab.benchmarks.peers.apps.tally import Tally

_scene = Scene.told()
app = Celery("articles", broker=f"{_scene.redis}/0", backend=f"{_scene.redis}/1")
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


class _Handler:
    """What the worker has, once it is ready."""

    tally: Tally
    store: sink.ThreadSink | None = None


@worker_ready.connect
def _begin(**_: object) -> None:
    """Before the first message is read: a solo worker has one thread."""
    if _scene.job == OURS:
        _Handler.store = sink.ThreadSink(_scene.postgres, 1)
    _Handler.tally = Tally(_scene.folder)
    _Handler.tally.wait_for_go()


@app.task(name="article", ignore_result=_scene.job == OURS)
def handle(article: dict[str, Any]) -> str | None:
    _Handler.tally.add()
    if _Handler.store:
        _Handler.store.store(article)
        return None
    return RESULT


class CeleryPeer(Peer):
    """Its side that enqueues."""

    def __init__(self) -> None:
        self._broker = Redis.from_url(f"{_scene.redis}/0")
        self._results = Redis.from_url(f"{_scene.redis}/1")

    async def one_by_one(self, numbers: range) -> None:
        for number in numbers:
            handle.delay(article=task(number))

    async def unfinished(self) -> int:
        return int(self._broker.llen("celery") + self._broker.hlen("unacked"))

    async def kept(self) -> int:
        return int(self._results.dbsize())


def peer(_: Scene) -> CeleryPeer:
    return CeleryPeer()
