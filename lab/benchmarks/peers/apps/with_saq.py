"""saq, on PostgreSQL or on Redis: 100 jobs at once a worker, uvloop. Run as a script it is a worker."""

from __future__ import annotations

from typing import Any

import uvloop
from redis.asyncio import Redis
from saq import Queue, Worker

from lab.benchmarks.peers.apps import sink
from lab.benchmarks.peers.apps.peer import RESULT, Peer, Scene, in_flight, task

CONCURRENCY = 100


def _queue(scene: Scene) -> Queue:
    return Queue.from_url(scene.redis or scene.postgres)


class SaqPeer(Peer):
    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._queue = _queue(scene)

    async def open(self) -> None:
        await self._queue.connect()

    async def one_by_one(self, numbers: range) -> None:
        await in_flight(lambda number: self._queue.enqueue("handle", article=task(number)), numbers)

    async def unfinished(self) -> int:
        return int(await self._queue.count("incomplete"))

    async def kept(self) -> int:
        if self._scene.redis:
            client = Redis.from_url(self._scene.redis)
            jobs = [key async for key in client.scan_iter("saq:job:*", count=1_000)]
            results = 0
            for start in range(0, len(jobs), 1_000):
                results += sum(
                    RESULT.encode() in (value or b"") for value in await client.mget(jobs[start : start + 1_000])
                )
            await client.aclose()
            return results
        # With a result of 2 KB beside the task of 1 KB.
        kept = "SELECT count(*) FROM saq_jobs WHERE status = 'complete' AND octet_length(job) > 2500"
        return int(await sink.first(self._scene.postgres, kept))


peer = SaqPeer


async def _work(scene: Scene) -> None:
    handler = sink.Handler()

    async def handle(_: Any, *, article: dict[str, Any]) -> str | None:
        return await handler.handle(article)

    queue = _queue(scene)
    await queue.connect()
    await queue.sweep()  # takes its lock: a worker's sweep at its start takes a job just fetched for one that is stuck
    await handler.begin(scene)
    await Worker(queue, [("handle", handle)], concurrency=CONCURRENCY).start()


if __name__ == "__main__":
    uvloop.run(_work(Scene.from_environment()))
