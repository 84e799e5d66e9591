"""Renders articles and compares them, in processes of its own: a text that takes too long ends only its process."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from typing import Any

import structlog

from console_svc.articles.pictures import Picture, Pictures

PROCESSES = 2
TIMEOUT = 4.0
"""Seconds that a text may take, the wait for a process not counted."""
MAX_TEXT = 200_000
"""Characters that are worked on: a longer text is no article, and browsers take long for it, too."""
_MAX_ANSWER = 16 * 2**20

_log = structlog.get_logger(__name__)


class Workshop:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self) -> None:
        self._free: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()
        for _ in range(PROCESSES):
            self._free.put_nowait(None)
        self._started: set[Process] = set()

    async def markdown(self, text: str, pictures: Pictures) -> str | None:
        """The safe HTML of Markdown; None: it takes too much time or memory."""
        return await self._work("markdown", text, assets=pictures.assets)

    async def html(self, text: str, pictures: Pictures) -> str | None:
        """HTML made safe; None as above."""
        return await self._work("html", text, assets=pictures.assets)

    async def difference(self, old: str, text: str) -> str | None:
        """Safe HTML of what has changed, empty if nothing has; None as above."""
        return "" if old == text else await self._work("difference", text, old=old)

    async def _work(
        self, work: str, text: str, *, assets: Mapping[str, Picture] | None = None, old: str = ""
    ) -> str | None:
        if len(text) + len(old) > MAX_TEXT:
            return None
        process = await self._free.get()
        try:
            process = process or await self._start()
            return await asyncio.wait_for(
                _answer(process, {"work": work, "text": text, "assets": assets, "old": old}), TIMEOUT
            )
        except (TimeoutError, ValueError, OSError) as error:
            _log.warning("an article takes too much", action="article", work=work, error=repr(error))
            self._end(process)
            process = None
            return None
        except asyncio.CancelledError:  # its answer would be taken for that of another
            self._end(process)
            process = None
            raise
        finally:
            self._free.put_nowait(process)

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "console_svc.articles",
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            limit=_MAX_ANSWER,
            env={},
        )
        self._started.add(process)
        await _line(process)
        return process

    def _end(self, process: Process | None) -> None:
        if process is not None:
            if process.returncode is None:
                process.kill()
            self._started.discard(process)

    async def close(self) -> None:
        ended = list(self._started)
        for process in ended:
            self._end(process)
        await asyncio.gather(*(process.wait() for process in ended))


async def _answer(process: Process, asked: Mapping[str, Any]) -> str:
    """Raises ValueError if the process ends, or has too long an answer."""
    assert process.stdin
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    await process.stdin.drain()
    return await _line(process)


async def _line(process: Process) -> str:
    assert process.stdout
    line: str = json.loads(await process.stdout.readline())
    return line
