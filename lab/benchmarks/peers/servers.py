"""The Redis that some peers run on, a fresh one for each step, and the worker processes of all."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from lab.benchmarks.peers.apps.peer import Tallies
from lab.benchmarks.peers.contenders import Store
from tests.harness.process import Process
from tests.harness.processes import free_port
from tests.harness.waiting import wait_until_async, wait_until_gone_async

REDIS_SERVER = shutil.which("redis-server")
START_LIMIT = 10.0


class NoRedis(Exception):
    """`redis-server` did not start."""


@contextlib.contextmanager
def failing_as(failure: type[Exception], message: str) -> Iterator[None]:
    """Raises a failure of the run where a wait within the block is in vain."""
    try:
        yield
    except AssertionError:
        raise failure(message) from None


@asynccontextmanager
async def redis(folder: Path, store: Store) -> AsyncIterator[str]:
    """Yields the URL, without a database, of a server of its own without snapshots; empty where none is needed."""
    if not store.is_redis:
        yield ""
        return
    assert REDIS_SERVER
    port = free_port()
    always = ("--appendonly", "yes", "--appendfsync", "always")
    journal = always if store is Store.REDIS_ALWAYS else ("--appendonly", "no")
    command = (REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *journal)

    def is_open() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    server = Process("redis-server", command, folder / "redis.log", os.environ).launch()
    try:
        with failing_as(NoRedis, f"redis-server did not start within {START_LIMIT:.0f} s, see {server.log}"):
            await wait_until_async(is_open, within=START_LIMIT, what="redis-server takes connections")
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()


WORKERS_START_LIMIT = 30.0
STOP_LIMIT = 5.0


class WorkerFailed(Exception):
    """A worker ended early, or never got ready; the message names its log."""


class Workers:
    """So many of a command. Once it is entered all are ready to begin, and wait for `go`."""

    def __init__(self, command: Sequence[str], count: int, folder: Path, environment: Mapping[str, str]) -> None:
        self._workers = [
            Process(name, command, folder / f"{name}.log", os.environ | environment, cwd=Path.cwd())
            for name in (f"worker-{number}" for number in range(count))
        ]
        self._processes: list[Process] = []
        self._tallies = Tallies(folder)

    async def __aenter__(self) -> Self:
        try:
            for worker in self._workers:
                self._processes.append(worker.launch())
            log = self._processes[0].log
            with failing_as(WorkerFailed, f"a worker was not ready within {WORKERS_START_LIMIT:.0f} s, see {log}"):
                await wait_until_async(self._are_ready, within=WORKERS_START_LIMIT, what="the workers are ready")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._signal(signal.SIGTERM)
        try:
            with contextlib.suppress(AssertionError):
                await wait_until_gone_async(self._running, within=STOP_LIMIT, what="the workers end")
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

    def _are_ready(self) -> bool:
        self.check()
        return self._tallies.ready() == len(self._workers)

    def _running(self) -> list[str]:
        return [process.name for process in self._processes if process.alive]

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
