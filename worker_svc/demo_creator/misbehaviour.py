"""The failures that `--demo-fail` asks for, each as some real program has it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

MISBEHAVIOURS: Mapping[str, str] = {
    "exit": "create exits with 3 and a message on stderr",
    "defer": "create asks to come back later: exits with 75, and prints the seconds on stderr",
    "failed": "the run ends as failed: status says so; a synchronous create exits with 1",
    "garbage": "prints bytes that are no result, and exits with 0",
    "empty": "prints nothing, and exits with 0",
    "big": "prints a result of 20 MiB",
    "hang": "create does not end",
    "ignore-term": "create does not end, and ignores TERM",
    "fork": "create leaves three processes behind (its group's, a session's, a daemon's), else all is well",
}

_FOREVER = 3600.0  # seconds, so that a process that nobody stops ends at last
_BIG = 20 * 1024 * 1024


def at_create(fail: str, retry_after: float, on_child: Callable[[], None]) -> int | None:
    """Misbehaves before the work. Returns the exit status, or None to go on. Each child left behind calls
    `on_child`.
    """
    if fail == "exit":
        sys.stderr.write("demo creator: told to fail\nError: the model said no\n")
        return 3
    if fail == "defer":
        sys.stderr.write(f"demo creator: the model is over its quota\nretry-after: {retry_after:g}\n")
        return os.EX_TEMPFAIL
    if fail == "ignore-term":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fail in {"hang", "ignore-term"}:
        sys.stdout.write("progress: 0% waiting for ever\n")
        sys.stdout.flush()
        time.sleep(_FOREVER)
    if fail == "fork":
        _leave_children(on_child)
    return None


def output(fail: str, document: bytes) -> bytes:
    if fail == "garbage":
        return b'\xff\xfe\x1b[31m<html>502 Bad Gateway</html>\x00\n{"content": no, \xf0\x9f}\n'
    if fail == "empty":
        return b""
    if fail == "big":
        return b'{"content": "' + b"word " * (_BIG // 5) + b'"}\n'
    return document


def _leave_children(on_child: Callable[[], None]) -> None:
    """Leaves children that keep stdout and stderr open, as a careless daemon does."""
    for detach in (None, os.setsid, _daemonize):  # None: it stays in its parent's group
        if os.fork() == 0:
            if detach:
                detach()
            on_child()
            time.sleep(_FOREVER)
            os._exit(0)


def _daemonize() -> None:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
