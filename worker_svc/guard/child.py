"""A CLI as the worker sees it: its output, its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_CHUNK = 64 * 1024  # bytes; what a pipe holds

EndedBy = Literal["itself", "deadline", "told"]


@dataclass(frozen=True)
class Exit:
    """How a CLI ended: `code` if it exited, else the number of the `signal` that killed it."""

    code: int | None
    signal: int | None
    ended_by: EndedBy
    """Whether it ended by itself, or because its run's deadline had passed, or because it or its run was stopped."""


class Child:
    """One CLI that was started by the guard.

    Its readers end when the last process that holds the pipe has ended, which may be a descendant that outlives it.
    """

    pid: int
    stdout: asyncio.StreamReader
    """At its end from the start where the CLI writes to a descriptor that the caller gave."""
    stderr: asyncio.StreamReader

    def __init__(self, ask_to_stop: Callable[[], None]) -> None:
        self._ask_to_stop = ask_to_stop
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._pipes: set[int] = set()

    async def wait(self) -> Exit:
        """The end of the CLI itself; its output may still hold more.

        Raises:
            GuardLostError: the guard is gone.
        """
        return await asyncio.shield(self._exit)

    async def stop(self) -> Exit:
        """TERM to its process group, KILL after the guard's grace, and its end."""
        if not self._exit.done():
            self._ask_to_stop()
        return await self.wait()

    @property
    def is_open(self) -> bool:
        """Whether more output may come."""
        return bool(self._pipes)

    def close(self) -> None:
        """Read no more of its output; what it writes from now on gets EPIPE."""
        for pipe in tuple(self._pipes):
            self._close(pipe)

    def started(self, pid: int, output: list[int]) -> None:
        """Take over the pipes, stdout (unless one was given) and stderr, of the process."""
        self.pid = pid
        *given, self.stderr = [self._read(pipe) for pipe in output]
        self.stdout = given[0] if given else _at_end()

    def _read(self, pipe: int) -> asyncio.StreamReader:
        """Not by a transport of the loop: uvloop's closes a pipe twice, and by then the number may be another file's,
        opened in another thread.
        """
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
            self._exit.exception()  # nobody has to be waiting for it


def _at_end() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_eof()
    return reader
