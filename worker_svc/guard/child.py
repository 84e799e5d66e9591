"""A CLI as the worker sees it: its output, its end, and what can go wrong between worker and guard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from worker_svc.outcome import Exit

_CHUNK = 64 * 1024  # bytes; what a pipe holds


class GuardError(Exception):
    """The guard refused a request."""


class GuardLostError(GuardError):
    """The guard is gone, and the kernel has killed its CLIs: the worker has to exit."""


class SpawnError(GuardError):
    """A CLI could not be started; none of it ran."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno
        """The kernel's reason (ENOENT: no such program or interpreter, EACCES: not executable, …)."""


class Child:
    """One CLI that the guard started.

    A reader ends when the last process that holds its pipe has ended. That may be a descendant that outlives the CLI.
    """

    pid: int
    stdout: asyncio.StreamReader  # empty if the CLI writes to a descriptor that the caller gave
    stderr: asyncio.StreamReader

    def __init__(self, ask_to_stop: Callable[[], None]) -> None:
        self._ask_to_stop = ask_to_stop
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._pipes: set[int] = set()

    async def wait(self) -> Exit:
        """Waits for the CLI to end; more of its output may follow. Raises GuardLostError if the guard is gone."""
        return await asyncio.shield(self._exit)

    async def stop(self) -> Exit:
        """Sends TERM to its process group, KILL after the guard's grace, and waits for its end."""
        if not self._exit.done():
            self._ask_to_stop()
        return await self.wait()

    @property
    def is_open(self) -> bool:
        return bool(self._pipes)

    def close(self) -> None:
        """Stops reading its output; writing more of it fails with EPIPE."""
        for pipe in tuple(self._pipes):
            self._close(pipe)

    def started(self, pid: int, output: list[int]) -> None:
        self.pid = pid
        *streams, self.stderr = [self._read(pipe) for pipe in output]
        self.stdout = streams[0] if streams else asyncio.StreamReader()
        if not streams:
            self.stdout.feed_eof()

    def _read(self, pipe: int) -> asyncio.StreamReader:
        """Does without a transport: uvloop's closes a pipe twice, and the descriptor may be another file's by then."""
        os.set_blocking(pipe, False)
        self._pipes.add(pipe)
        reader = asyncio.StreamReader()
        asyncio.get_running_loop().add_reader(pipe, self._readable, pipe, reader)
        return reader

    def _readable(self, pipe: int, reader: asyncio.StreamReader) -> None:
        try:
            chunk = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return
        if chunk:
            reader.feed_data(chunk)
        else:
            reader.feed_eof()
            self._close(pipe)

    def _close(self, pipe: int) -> None:
        self._pipes.discard(pipe)
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)

    def ended(self, end: Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(end)

    def lost(self, error: Exception) -> None:
        if not self._exit.done():
            self._exit.set_exception(error)
            self._exit.exception()  # retrieved, in case nobody waits for it
