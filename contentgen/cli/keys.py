"""Single keys of a terminal. Layer: the bottom of cli."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Key = Callable[[float | None], str]
"""Waits for a key, so many seconds or (None) until there is one. Empty: there was none; `q`: the input has ended."""


@contextmanager
def keys() -> Iterator[Key]:
    """Yields the keys as they are pressed, without Enter and not shown; none if standard input is no terminal."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    import termios  # not on every system that has no terminal either
    import tty

    descriptor = sys.stdin.fileno()
    attributes = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)  # and forgets what was typed ahead: a key decides what is seen now
    try:
        yield _key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)


def _key(timeout: float | None) -> str:
    ready, _, _ = select.select([sys.stdin], [], [], timeout)
    return (os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") or "q") if ready else ""


def _no_key(timeout: float | None) -> str:
    time.sleep(timeout or 0.0)
    return ""
