"""The Redis that some peers run on, a fresh one for each step, and the worker processes of all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from lab.benchmarks.peers.apps.peer import Tallies
from lab.benchmarks.peers.contenders import Store
from tests.harness.process import Process
from tests.harness.processes import free_port

REDIS_SERVER = shutil.which("redis-server")
START_LIMIT = 10.0


class NoRedis(Exception):
    """`redis-server` did not start."""


@asynccontextmanager
async def redis(folder: Path, store: Store) -> AsyncIterator[str]:
    """A server of its own, without snapshots; its URL, without a database. An empty URL where none is needed."""
    if not store.is_redis:
        yield ""
        return
    assert REDIS_SERVER
    port = free_port()
    always = ("--appendonly", "yes", "--appendfsync", "always")
    journal = always if store is Store.REDIS_ALWAYS else ("--appendonly", "no")
    command = (REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *journal)
    server = Process("redis-server", command, folder / "redis.log", os.environ).launch()
    try:
        await _accepts(port, server.log)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()


async def _accepts(port: int, log: Path) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_LIMIT):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return
    raise NoRedis(f"redis-server did not start within {START_LIMIT:.0f} s, see {log}")


WORKERS_START_LIMIT = 30.0
STOP_LIMIT = 5.0


class WorkerFailed(Exception):
    """A worker ended early, or never got ready; the message names its log."""


class Workers:
    """So many of a command. Once it is entered all are ready to begin, and wait for `go`."""

    def __init__(self, command: Sequence[str], count: int, folder: Path, environment: Mapping[str, str]) -> None:
        self._command = command
        self._count = count
        self._folder = folder
        self._environment = os.environ | environment
        self._processes: list[Process] = []
        self._tallies = Tallies(folder)

    async def __aenter__(self) -> Self:
        try:
            for number in range(self._count):
                name = f"worker-{number}"
                log = self._folder / f"{name}.log"
                worker = Process(name, self._command, log, self._environment, cwd=Path.cwd())
                self._processes.append(worker.launch())
            await self._ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT):
                while any(process.alive for process in self._processes):  # noqa: ASYNC110 - they ring no bell
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pass
        finally:
            self._signal(signal.SIGKILL)  # the groups, of which only the leader was waited for
            for process in self._processes:
                process.popen.wait()

    def go(self) -> float:
        begin = time.monotonic()
        self._tallies.go()
        return begin

    def check(self) -> None:
        """Raises WorkerFailed if one of them has ended."""
        for process in self._processes:
            if not process.alive:
                raise WorkerFailed(f"a worker ended early, see {process.log}")

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(WORKERS_START_LIMIT):
                while self._tallies.ready() < self._count:
                    self.check()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            problem = f"a worker was not ready within {WORKERS_START_LIMIT:.0f} s, see {self._processes[0].log}"
            raise WorkerFailed(problem) from None

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
