"""Ends what a deployment has left where its launcher was killed: services are no children that would die with it.

A process of its own. It is told the folder by a pipe, not by its command line, where it would look like a part of the
deployment, and it acts when the pipe is closed without a last word.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.processes import bury

_DONE = "done"


@contextmanager
def undertaken(folder: Path) -> Iterator[None]:
    """Whatever happens to this process meanwhile, nothing that belongs to `folder` lives on for long."""
    with subprocess.Popen(
        [sys.executable, "-m", "lab.deployment.undertaker"],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a Ctrl-C is not for it
    ) as process:
        assert process.stdin is not None
        print(folder, file=process.stdin, flush=True)
        try:
            yield
        finally:
            process.communicate(_DONE, timeout=10.0)


if __name__ == "__main__":
    of, *last = sys.stdin.read().splitlines()
    if last != [_DONE]:
        bury(Path(of))
