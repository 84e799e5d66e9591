"""A run of a benchmark that takes minutes: TERM ends it as Ctrl-C does, and a failure is a line, not a traceback."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from lab.benchmarks.child import ChildFailed
from lab.benchmarks.conditions import NotDurable
from lab.benchmarks.scenario import WrongCounts

_FAILURES: tuple[type[Exception], ...] = (WrongCounts, ChildFailed, NotDurable, TimeoutError)


def run(measure: Coroutine[Any, Any, int | None], failures: tuple[type[Exception], ...] = ()) -> int:
    """Runs it to its end; the exit status, which it may return.

    `failures` are further ones that it may raise, alone or in a group.
    """
    expected = _FAILURES + failures
    try:
        return asyncio.run(_interruptible(measure)) or 0
    except expected as failure:
        return _failed(failure)
    except ExceptionGroup as group:
        if group.split(expected)[1]:
            raise
        return _failed(*group.exceptions)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("interrupted; all that was started has ended\n")
        return 130


def _failed(*failures: Exception) -> int:
    for failure in failures:
        sys.stderr.write(f"{failure or 'a step took too long'}\n")
    sys.stderr.write("The figures would mean nothing: the run has ended.\n")
    return 1


async def _interruptible(measure: Coroutine[Any, Any, int | None]) -> int | None:
    """Each step ends its own processes."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await measure
