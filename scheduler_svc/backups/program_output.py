"""What a program of PostgreSQL says on stderr while it runs. Part of `scheduler_svc.backups`."""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Sequence
from typing import IO, Protocol

_TICK = 0.2
_LAST_LINES = 5


class Follower(Protocol):
    """Whoever wants to know how far a program is."""

    def said(self, line: str) -> None:
        """A line of what it says."""

    def tick(self) -> None:
        """A few times a second."""


def follow(stderr: IO[bytes], follower: Follower) -> Sequence[str]:
    """Until the program has ended; its last lines."""
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stderr, selectors.EVENT_READ)
        while True:
            if selector.select(_TICK):
                data = os.read(stderr.fileno(), 65_536)
                if not data:
                    return [*lines, rest.decode(errors="replace")]
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    lines.append(line.decode(errors="replace"))
                    follower.said(lines[-1])
            follower.tick()


def told(lines: Sequence[str]) -> str:
    """The errors among its last lines, else all of them."""
    errors = [line for line in lines if "error" in line or "detail" in line or "hint" in line]
    return "\n".join(line for line in errors or lines if line) or "it said nothing"
