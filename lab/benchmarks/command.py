"""A run of a benchmark, which takes minutes: its sizes, its folder, and its end.

TERM ends it as Ctrl-C does, and a failure is a line, not a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from lab.benchmarks.child import ChildFailed
from lab.benchmarks.conditions import NotDurable
from lab.benchmarks.scenario import WrongCounts


def size(default: Any, text: str) -> Any:
    """Makes a field of a dataclass of sizes, which is an option of a command too."""
    return field(default=default, metadata={"help": text})


def add_sizes(parser: argparse.ArgumentParser, sizes: type) -> None:
    """Adds an option for each size; one that is a tuple is given by comma."""
    for option in fields(sizes):
        if not option.metadata:
            continue
        flag, default, text = f"--{option.name.replace('_', '-')}", option.default, option.metadata["help"]
        if isinstance(default, tuple):
            default_text = ",".join(str(part).removesuffix(".0") for part in default)
            parser.add_argument(flag, type=_numbers(type(default[0])), default=default_text, help=text)
        else:
            parser.add_argument(flag, type=type(default), default=default, help=text)


def _numbers(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def numbers(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(","))

    return numbers


def chosen_sizes(arguments: argparse.Namespace, sizes: type) -> dict[str, Any]:
    return {option.name: getattr(arguments, option.name) for option in fields(sizes) if option.metadata}


def make_folder(above: Path, prefix: str) -> Path:
    """Makes a folder, and returns its path; where root runs this, PostgreSQL's user passes through it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    folder.chmod(0o711)
    return folder


@contextlib.contextmanager
def lent_folder(above: Path, prefix: str) -> Iterator[Path]:
    """Yields a new one, which is removed at the end. After a failure it stays: its logs say why."""
    folder = make_folder(above, prefix)
    try:
        yield folder
    except asyncio.CancelledError:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def run_measurement(measure: Coroutine[Any, Any, int | None], failures: tuple[type[Exception], ...] = ()) -> int:
    """Runs it to its end; the exit status, which it may return.

    `failures` are further ones that it may raise, alone or in a group.
    """
    expected: tuple[type[Exception], ...] = (WrongCounts, ChildFailed, NotDurable, TimeoutError, *failures)

    async def interruptible() -> int | None:
        task = asyncio.current_task()
        assert task
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await measure

    status = 0
    try:
        status = asyncio.run(interruptible()) or 0
    except* expected as failed:
        for failure in failed.exceptions:
            sys.stderr.write(f"{str(failure) or 'a step took too long'}\n")
        sys.stderr.write("The figures would mean nothing: the run has ended.\n")
        status = 1
    except* (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("interrupted; all that was started has ended\n")
        status = 130
    return status
