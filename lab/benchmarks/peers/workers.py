"""Worker processes of a peer, each with a group of its own, so that what a worker starts ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lab.benchmarks.peers.apps.tally import Tallies

START_LIMIT = 30.0
STOP_LIMIT = 5.0
_POLL_S = 0.01


class WorkerFailed(Exception):
    """A worker ended early, or never got ready; the message names its log."""


class Workers:
    """So many of a command. Once it is entered all are ready to begin, and wait for `go`."""

    def __init__(self, command: Sequence[str], count: int, folder: Path, environment: Mapping[str, str]) -> None:
        self._command = command
        self._count = count
        self._folder = folder
        self._environment = os.environ | environment
        self._processes: list[asyncio.subprocess.Process] = []
        self._tallies = Tallies(folder)

    async def __aenter__(self) -> Self:
        try:
            for number in range(self._count):
                with self._log(number).open("ab") as log:
                    self._processes.append(
                        await asyncio.create_subprocess_exec(
                            *self._command,
                            env=self._environment,
                            stdin=asyncio.subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    )
            await self._ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await asyncio.gather(*(process.wait() for process in self._processes))
        except TimeoutError:
            pass
        finally:
            self._signal(signal.SIGKILL)  # the groups, of which only the leader was waited for
            await asyncio.gather(*(process.wait() for process in self._processes))

    def go(self) -> float:
        """Lets them begin; when that was."""
        begin = time.monotonic()
        self._tallies.go()
        return begin

    async def watch(self) -> None:
        """Raises WorkerFailed as soon as one of them ends; else it never returns."""
        ends = [asyncio.create_task(process.wait()) for process in self._processes]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        number_of_ended = next(
            number for number, process in enumerate(self._processes) if process.returncode is not None
        )
        raise WorkerFailed(f"a worker ended early, see {self._log(number_of_ended)}")

    async def _ready(self) -> None:
        watch = asyncio.create_task(self.watch())
        try:
            async with asyncio.timeout(START_LIMIT):
                while self._tallies.ready() < self._count:
                    if watch.done():
                        watch.result()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise WorkerFailed(f"a worker was not ready within {START_LIMIT:.0f} s, see {self._log(0)}") from None
        finally:
            watch.cancel()

    def _log(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
