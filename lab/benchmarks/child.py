"""A process of a measurement: it says `ready`, waits for a line on its stdin, and tells what it saw as JSON lines.

`Child` is the parent's side. The process runs a coroutine function of a module, which gets its stdin and the options.
It is no `Process` of `tests.harness.process`, of which a test reads the log now and then: both sides talk by pipes, in
event loops that measure time, and so hear of each other at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import uvloop

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
MAX_LINE = 1 << 20
"""Bytes that a process says at once."""


class ChildFailed(Exception):
    """A process ended before it had said what was asked of it; the message names its log."""


class Child:
    """Runs `lab.<program>`, a function, in a process of its own; its errors go to `<folder>/<name>.log`.

    `first` is what it said once it was ready.
    """

    python = sys.executable
    environment: Mapping[str, str] = MappingProxyType({"GRPC_ENABLE_FORK_SUPPORT": "0"})
    """What is added to our own."""

    def __init__(self, program: str, folder: Path, name: str, **options: object) -> None:
        self._program = f"lab.{program}"
        self._log = folder / f"{name}.log"
        self._options = json.dumps(options)

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self.python, "-m", "lab.benchmarks.child", self._program, self._options),
                env=os.environ | dict(self.environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=MAX_LINE,
            )
        async with asyncio.timeout(START_TIMEOUT):
            self.first = await self.message()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes its stdin, with which it ends."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def go(self) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"go\n")

    async def ask(self, **what: object) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        return await self.message()

    async def message(self) -> dict[str, Any]:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            raise ChildFailed(f"{self._program} ended early, see {self._log}: {last}")
        message: dict[str, Any] = json.loads(line)
        return message


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def _main(program: str, options: dict[str, Any]) -> None:
    """Runs the program; a line on its stdin lets it begin, the end of it stop."""
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    module, _, function = program.rpartition(".")
    await getattr(importlib.import_module(module), function)(stdin, **options)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(sys.argv[1], json.loads(sys.argv[2])))
