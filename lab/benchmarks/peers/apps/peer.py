"""What a module of a peer gives, the task that all peers get, and how their workers count what they have handled."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lab.benchmarks.prose import RESULT_BYTES, brief, prose

PLAIN = "plain"
"""The handler does nothing; where the peer keeps results, it returns one of 2 KB."""
OURS = "ours"
"""The handler stores a result of 2 KB and a row of the publish pool, in one commit."""
_PREFIX = "PEERS_"


@dataclass(frozen=True, slots=True)
class Scene:
    """`folder` is shared by the processes of one step; `postgres` and `redis` are URLs. No Redis: an empty one."""

    folder: Path
    postgres: str
    redis: str
    job: str

    @classmethod
    def from_environment(cls) -> Scene:
        folder, *others = (os.environ[f"{_PREFIX}{field.name.upper()}"] for field in fields(cls))
        return cls(Path(folder), *others)

    def environment(self) -> dict[str, str]:
        return {f"{_PREFIX}{field.name.upper()}": str(getattr(self, field.name)) for field in fields(self)}


_CHANCE = random.Random(1)
_TASKS = [{"account_id": number % 4 + 1, **brief(_CHANCE)} for number in range(20)]
RESULT = prose(random.Random(2), RESULT_BYTES)


def task(number: int) -> dict[str, Any]:
    return {**_TASKS[number % len(_TASKS)], "number": number}


_FORM = struct.Struct("<dq")
_POLL_S = 0.005
_GO = "go"
_SUFFIX = ".tally"


class Tally:
    """A worker's own. Its file is there once the worker is ready to begin."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}{_SUFFIX}"
        hidden = path.with_suffix(".new")
        hidden.write_bytes(_FORM.pack(0.0, 0))
        with hidden.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FORM.size)
        self._go = folder / _GO
        self._count = 0
        self._lock = threading.Lock()
        hidden.rename(path)

    def add(self) -> None:
        with self._lock:
            self._count += 1
            _FORM.pack_into(self._map, 0, time.monotonic(), self._count)

    def wait_for_go(self) -> None:
        """Waits for the file that begins a step. An event loop may be held up by it: there is nothing to do yet."""
        while not self._go.exists():
            time.sleep(_POLL_S)


class Tallies:
    """All workers' of a folder, to be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: dict[Path, mmap.mmap] = {}

    def ready(self) -> int:
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path not in self._maps:
                with path.open("rb") as file:
                    self._maps[path] = mmap.mmap(file.fileno(), _FORM.size, access=mmap.ACCESS_READ)
        return len(self._maps)

    def go(self) -> None:
        (self._folder / _GO).touch()

    @property
    def handled(self) -> int:
        """Tasks, by all workers; one that was handled twice counts twice."""
        return sum(_FORM.unpack_from(tally)[1] for tally in self._maps.values())

    @property
    def last(self) -> float:
        """When the last of them came to its handler, by the machine's monotonic clock."""
        return max(float(_FORM.unpack_from(tally)[0]) for tally in self._maps.values())

    async def until(self, tasks: int, poll_s: float = _POLL_S) -> None:
        while self.handled < tasks:  # noqa: ASYNC110 - other processes count
            await asyncio.sleep(poll_s)


IN_FLIGHT = 64
"""Calls at once, where a peer's client is asynchronous."""
BULK = 1_000
"""Tasks a call, where a peer has a bulk call."""


class Peer(ABC):
    """On servers that are empty."""

    async def open(self) -> None:  # noqa: B027 - many need nothing
        """Makes what the peer needs, such as its tables."""

    @abstractmethod
    async def one_by_one(self, numbers: range) -> None:
        """Enqueues a task for each number, a call each."""

    async def bulk(self, numbers: range) -> None:
        raise NotImplementedError

    @abstractmethod
    async def unfinished(self) -> int:
        """Counts tasks that are not done and not acknowledged."""

    async def kept(self) -> int:
        """Counts results in the peer's own store."""
        return 0


class RedisPeer(Peer):
    """One whose tasks are in the first database of a Redis, and its results in the second."""

    def __init__(self, scene: Scene) -> None:
        from redis.asyncio import Redis  # is installed for peers only

        self._queue = Redis.from_url(f"{scene.redis}/0")
        self._results = Redis.from_url(f"{scene.redis}/1")

    async def kept(self) -> int:
        return int(await self._results.dbsize())


async def in_flight(call: Callable[[int], Awaitable[object]], numbers: Iterable[int]) -> None:
    turns = iter(numbers)

    async def caller() -> None:
        for number in turns:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))


def parts(numbers: range) -> Iterable[range]:
    return (numbers[start : start + BULK] for start in range(0, len(numbers), BULK))
