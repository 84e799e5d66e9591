"""Waiting for a condition, with a deadline: what tests do instead of sleeping; and tasks beside a block.

A deadline holds on a machine that has up to four programs to run for each processor. Where there are more, all is
slower, and so the deadline is later.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

T = TypeVar("T")
PATIENCE_S = 60
"""The deadline of what a test waits for where no bound is promised: only what never comes reaches it."""
_PROGRAMS = 4 * (os.cpu_count() or 1)
_MIN_PAUSE_S = 0.01
_MAX_PAUSE_S = 0.05
"""Seconds between two looks. Each may be a call: after a second, nobody needs a hundred of them in each."""


def on_this_machine(seconds: float) -> float:
    """Returns a deadline of so many seconds, and more if the machine has too much to run."""
    return seconds * max(1.0, os.getloadavg()[0] / _PROGRAMS)


def wait_until(predicate: Callable[[], T | None], *, within: float, what: str) -> T:
    """Returns the first true value of `predicate`. After `within` seconds AssertionError, with `what` and the last."""
    __tracebackhide__ = True
    start = time.monotonic()
    while not (value := predicate()):
        time.sleep(_pause(start, within, what, value))
    return value


@overload
async def wait_until_async(
    predicate: Callable[[], Awaitable[T]], *, within: float, what: str, every: float = ...
) -> T: ...
@overload
async def wait_until_async(predicate: Callable[[], T], *, within: float, what: str, every: float = ...) -> T: ...
async def wait_until_async(
    predicate: Callable[[], Any], *, within: float, what: str, every: float = _MIN_PAUSE_S
) -> Any:
    """Waits as `wait_until` does, beside a running event loop; `predicate` may be a coroutine function.

    `every`: seconds between two looks at the least, to be more where one is a call.
    """
    __tracebackhide__ = True
    start = time.monotonic()
    while not (value := await _value(predicate)):
        pause = _pause(start, within, what, value)
        await asyncio.sleep(max(pause, every))
    return value


def wait_until_gone(remaining: Callable[[], Collection[object]], *, within: float, what: str) -> None:
    """Waits until nothing remains. After `within` seconds AssertionError, with `what` and what is left."""
    __tracebackhide__ = True
    start = time.monotonic()
    while left := remaining():
        time.sleep(_pause(start, within, what, left))


async def wait_until_gone_async(remaining: Callable[[], Collection[object]], *, within: float, what: str) -> None:
    """Waits as `wait_until_gone` does, beside a running event loop."""
    __tracebackhide__ = True
    start = time.monotonic()
    while left := remaining():
        pause = _pause(start, within, what, left)
        await asyncio.sleep(pause)


async def _value(predicate: Callable[[], T | Awaitable[T]]) -> T:
    value = predicate()
    return await value if inspect.isawaitable(value) else value


def _pause(start: float, within: float, what: str, last: object) -> float:
    """Returns the seconds until the next look. AssertionError if there is to be none."""
    __tracebackhide__ = True
    waited = time.monotonic() - start
    if waited > within and waited > (limit := on_this_machine(within)):
        raise AssertionError(f"not within {limit:g} s: {what} (last value: {last!r})")
    return min(max(_MIN_PAUSE_S, waited / 20), _MAX_PAUSE_S)


@asynccontextmanager
async def beside(*coroutines: Coroutine[Any, Any, object]) -> AsyncIterator[list[asyncio.Task[object]]]:
    """Runs these beside the block. What then still runs is cancelled, and what they raise is nobody's."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
