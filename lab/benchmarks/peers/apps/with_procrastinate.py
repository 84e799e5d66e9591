"""procrastinate: 30 jobs at once a worker, done jobs deleted, uvloop. Run as a script it is a worker."""

from __future__ import annotations

from typing import Any

import uvloop
from procrastinate import App, PsycopgConnector

from lab.benchmarks.peers.apps import sink
from lab.benchmarks.peers.apps.peer import Peer, Scene, in_flight, parts, task

CONCURRENCY = 30
CONNECTIONS = 16
_TASK = "article"


def _app(url: str) -> App:
    return App(connector=PsycopgConnector(conninfo=url, min_size=CONNECTIONS, max_size=CONNECTIONS))


class ProcrastinatePeer(Peer):
    def __init__(self, scene: Scene) -> None:
        self._url = scene.postgres
        self._app = _app(self._url)
        self._job = self._app.configure_task(_TASK)

    async def open(self) -> None:
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()

    async def one_by_one(self, numbers: range) -> None:
        await in_flight(lambda number: self._job.defer_async(article=task(number)), numbers)

    async def bulk(self, numbers: range) -> None:
        for part in parts(numbers):
            await self._job.batch_defer_async(*({"article": task(number)} for number in part))

    async def unfinished(self) -> int:
        return int(await sink.first(self._url, "SELECT count(*) FROM procrastinate_jobs"))


peer = ProcrastinatePeer


async def _work(scene: Scene) -> None:
    app = _app(scene.postgres)
    handler = sink.Handler()

    @app.task(name=_TASK)
    async def handle(article: dict[str, Any]) -> None:
        await handler.handle(article)

    async with app.open_async():
        await handler.begin(scene)
        await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="always")


if __name__ == "__main__":
    uvloop.run(_work(Scene.from_environment()))
