"""The output of PostgreSQL's programs on stderr, as they run. Part of `scheduler_svc.admin.backups`."""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Sequence
from typing import IO, Protocol

_TICK_INTERVAL = 0.2
_MAX_LINES = 5


class Follower(Protocol):
    def on_line(self, line: str) -> None:
        """Receives each line."""

    def tick(self) -> None:
        """Is called a few times a second."""


def follow(stderr: IO[bytes], follower: Follower) -> Sequence[str]:
    """Reads until the program ends; returns its last lines."""
    lines: deque[str] = deque(maxlen=_MAX_LINES)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stderr, selectors.EVENT_READ)
        while True:
            if selector.select(_TICK_INTERVAL):
                data = os.read(stderr.fileno(), 65_536)
                if not data:
                    return [*lines, rest.decode(errors="replace")]
                *complete_lines, rest = (rest + data).split(b"\n")
                for line in complete_lines:
                    lines.append(line.decode(errors="replace"))
                    follower.on_line(lines[-1])
            follower.tick()


def error_text(lines: Sequence[str]) -> str:
    """The errors among a program's last lines, else all of them."""
    errors = [line for line in lines if "error" in line or "detail" in line or "hint" in line]
    return "\n".join(line for line in errors or lines if line) or "no output"
