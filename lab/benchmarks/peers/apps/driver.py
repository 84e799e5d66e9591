"""Enqueues a peer's tasks, and watches them being done, as it is told by JSON lines on its stdin; answers on stdout.

Moments are seconds of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import time
from typing import Any

from lab.benchmarks.child import say
from lab.benchmarks.peers.apps import sink
from lab.benchmarks.peers.apps.peer import Peer, Scene, Tallies

PAUSE_S = (0.005, 0.02)
"""Between two samples of a latency, as in the latency of contentgen."""


class _Driver:
    def __init__(self, peer: Peer, scene: Scene) -> None:
        self._peer = peer
        self._scene = scene
        self._tallies = Tallies(scene.folder)
        self._next = 0

    async def one_by_one(self, tasks: int) -> dict[str, Any]:
        return await self._enqueue(self._peer.one_by_one, tasks)

    async def bulk(self, tasks: int) -> dict[str, Any]:
        return await self._enqueue(self._peer.bulk, tasks)

    async def _enqueue(self, enqueue: Any, tasks: int) -> dict[str, Any]:
        numbers = range(self._next, self._next + tasks)
        self._next += tasks
        begin = time.monotonic()
        await enqueue(numbers)
        return {"begin": begin, "end": time.monotonic()}

    async def finish(self, tasks: int) -> dict[str, Any]:
        """Waits until so many tasks are handled and nothing is left to do."""
        self._tallies.ready()
        await self._tallies.until(tasks)
        while await self._peer.unfinished():  # noqa: ASYNC110 - a queue rings no bell
            await asyncio.sleep(0.005)
        return {"end": time.monotonic()}

    async def latencies(self, tasks: int) -> dict[str, Any]:
        """Returns the milliseconds from the call that enqueues to the handler, one task at a time."""
        self._tallies.ready()
        samples = []
        for _ in range(tasks):
            await asyncio.sleep(random.uniform(*PAUSE_S))
            target, begin = self._tallies.handled + 1, time.monotonic()
            await self.one_by_one(1)
            await self._tallies.until(target, 0.0005)
            samples.append((self._tallies.last - begin) * 1e3)
        return {"ms": samples}

    async def counts(self, tasks: int) -> dict[str, Any]:
        results, pool = await sink.stored(self._scene.postgres)
        return {"handled": self._tallies.handled, "kept": await self._peer.kept(), "results": results, "pool": pool}


async def drive(stdin: asyncio.StreamReader, *, peer: str) -> None:
    """Does for a peer, a module beside this one, what it is told."""
    scene = Scene.from_environment()
    await sink.make_tables(scene.postgres)
    enqueuer: Peer = importlib.import_module(f"lab.benchmarks.peers.apps.{peer}").peer(scene)
    await enqueuer.open()
    driver = _Driver(enqueuer, scene)
    say(ready=True)
    while line := await stdin.readline():
        request = json.loads(line)
        say(**await getattr(driver, request["do"])(request["tasks"]))
