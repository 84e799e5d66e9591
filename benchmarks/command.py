"""A run of a benchmark that takes minutes: TERM ends it as Ctrl-C does, and a failure is a line, not a traceback."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from benchmarks.child import ChildFailed
from benchmarks.conditions import NotDurable
from benchmarks.scenario import WrongCounts

_FAILURES: tuple[type[Exception], ...] = (WrongCounts, ChildFailed, NotDurable, TimeoutError)


def run(measure: Coroutine[Any, Any, None], failures: tuple[type[Exception], ...] = ()) -> int:
    """Runs it to its end; the exit status. `failures` are further ones that it may raise."""
    try:
        asyncio.run(_interruptible(measure))
    except _FAILURES + failures as failure:
        sys.stderr.write(f"{failure or 'a step took too long'}\nThe figures would mean nothing: the run has ended.\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("interrupted; all that was started has ended\n")
        return 130
    return 0


async def _interruptible(measure: Coroutine[Any, Any, None]) -> None:
    """Each step ends its own processes."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await measure
