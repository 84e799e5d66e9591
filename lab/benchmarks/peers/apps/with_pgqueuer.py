"""pgqueuer: a batch of 500 a fetch, uvloop, a pool of asyncpg. Run as a script it is a worker."""

from __future__ import annotations

import json

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from lab.benchmarks.peers.apps import sink
from lab.benchmarks.peers.apps.peer import OURS, Peer, Scene, in_flight, parts, task

BATCH_SIZE = 500
LOADER_CONNECTIONS = 16
_ENTRYPOINT = "article"


def _payload(number: int) -> bytes:
    return json.dumps(task(number)).encode()


class PgqueuerPeer(Peer):
    def __init__(self, scene: Scene) -> None:
        self._url = scene.postgres

    async def open(self) -> None:
        connection = await asyncpg.connect(self._url)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()
        pool = await asyncpg.create_pool(self._url, min_size=LOADER_CONNECTIONS, max_size=LOADER_CONNECTIONS)
        self._queries = Queries(AsyncpgPoolDriver(pool))

    async def one_by_one(self, numbers: range) -> None:
        await in_flight(lambda number: self._queries.enqueue(_ENTRYPOINT, _payload(number)), numbers)

    async def bulk(self, numbers: range) -> None:
        for part in parts(numbers):
            await self._queries.enqueue(
                [_ENTRYPOINT] * len(part), [_payload(number) for number in part], [0] * len(part)
            )

    async def unfinished(self) -> int:
        return int(await sink.first(self._url, "SELECT count(*) FROM pgqueuer"))


peer = PgqueuerPeer


async def _work(scene: Scene) -> None:
    connection = await asyncpg.connect(scene.postgres)
    queuer = PgQueuer(AsyncpgDriver(connection))
    handler = sink.Handler()

    @queuer.entrypoint(_ENTRYPOINT)
    async def handle(job: Job) -> None:
        await handler.handle(json.loads(job.payload or b"") if scene.job == OURS else {})

    await handler.begin(scene)
    await queuer.run(batch_size=BATCH_SIZE)


if __name__ == "__main__":
    uvloop.run(_work(Scene.from_environment()))
