"""Ends what a campaign has left where the campaign itself was killed: services are no children that would die with it.

A process of its own, beside `fleet`. It is told the folder by a pipe, not by its command line, where it would look like
a part of the campaign, and it acts when the pipe is closed without a last word.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.chaos.database import signal_all
from tests.harness.processes import belonging_to

_DONE = "done"
_PAUSE = 0.25
_SWEEPS = 40
_LIMIT = 10.0


@contextmanager
def undertaken(folder: Path) -> Iterator[None]:
    """Whatever happens to this process meanwhile, nothing that belongs to `folder` lives on for long."""
    with subprocess.Popen(
        [sys.executable, "-m", "lab.chaos.undertaker"],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a Ctrl-C is not for it
    ) as process:
        assert process.stdin is not None
        print(folder, file=process.stdin, flush=True)
        try:
            yield
        finally:
            process.communicate(_DONE, timeout=_LIMIT)


def bury(folder: Path) -> None:
    """Kills all that belongs to `folder`, and what is forked meanwhile."""
    for _ in range(_SWEEPS):
        if not signal_all(belonging_to(folder), signal.SIGKILL):
            return
        time.sleep(_PAUSE)


if __name__ == "__main__":
    of, *last = sys.stdin.read().splitlines()
    if last != [_DONE]:
        bury(Path(of))
