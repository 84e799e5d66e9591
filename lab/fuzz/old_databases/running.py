"""One import in a process of its own, which may crash, hang or swell without hurting who looks at it."""

from __future__ import annotations

import io
import multiprocessing
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from old_application.command import import_command

WITHIN = 120.0
"""Seconds in which an import of a case has to end, on a machine that does other work too."""


@dataclass(frozen=True)
class Ended:
    status: int
    """As the shell has it, but below zero where a signal ended it."""
    out: str
    err: str
    seconds: float
    peak_mib: float

    @property
    def hung(self) -> bool:
        return self.status == -signal.SIGKILL and self.seconds >= WITHIN


Run = Callable[[str, str, Sequence[str]], Ended]
"""The URL of the database to import into, that of the source, and more arguments."""


@contextmanager
def imports_apart(folder: Path) -> Iterator[Run]:
    """Runs imports as forks of a process that holds nothing; `folder` takes what they print.

    The most memory that a process had is told with what it began with, which is all that the one it was forked from
    holds: here that would be the drafts of cases, and what was in the database.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield lambda into, url, arguments: process.submit(_run_import, into, url, arguments, folder).result()


def _run_import(database_url: str, url: str, arguments: Sequence[str], folder: Path) -> Ended:
    """Runs the command in a fork, since a new Python would cost more than the import. Nobody else may have threads."""
    files = [folder / "out", folder / "err"]
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_the_command(database_url, [url, *arguments], files)
    status, peak = _reap(pid, start + WITHIN)
    stdout, stderr = (path.read_text("utf-8", "surrogateescape") for path in files)
    return Ended(status, stdout, stderr, time.monotonic() - start, peak)


def _be_the_command(database_url: str, arguments: list[str], files: list[Path]) -> None:
    """Ends the process, with the command's exit status or as Python would after an exception."""
    status = 1
    try:
        for descriptor, path in enumerate(files, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), encoding="utf-8", errors="backslashreplace")
        os.environ["DATABASE_URL"] = database_url
        status = import_command(arguments)
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _reap(pid: int, deadline: float) -> tuple[int, float]:
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], deadline - time.monotonic())[0]:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024
