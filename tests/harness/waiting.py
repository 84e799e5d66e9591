"""Waiting for a condition, with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Collection
from typing import NoReturn, TypeVar

T = TypeVar("T")
_POLL_S = 0.01


def wait_until(predicate: Callable[[], T], *, within: float, what: str) -> T:
    """The first true value of `predicate`. After `within` seconds AssertionError, with `what` and the last value."""
    __tracebackhide__ = True
    deadline = time.monotonic() + within
    while not (value := predicate()):
        if time.monotonic() > deadline:
            _fail(what, within, value)
        time.sleep(_POLL_S)
    return value


async def wait_until_async(
    predicate: Callable[[], T | Awaitable[T]], *, within: float, what: str, every: float = _POLL_S
) -> T:
    """`wait_until` beside a running event loop; `predicate` may be a coroutine function.

    `every`: seconds between two looks, to be more where one is a call.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + within
    while not (value := await _value(predicate)):
        if time.monotonic() > deadline:
            _fail(what, within, value)
        await asyncio.sleep(every)
    return value


def wait_until_gone(remaining: Callable[[], Collection[object]], *, within: float, what: str) -> None:
    """Until nothing remains. After `within` seconds AssertionError, with `what` and what is left."""
    __tracebackhide__ = True
    deadline = time.monotonic() + within
    while left := remaining():
        if time.monotonic() > deadline:
            _fail(what, within, left)
        time.sleep(_POLL_S)


async def wait_until_gone_async(remaining: Callable[[], Collection[object]], *, within: float, what: str) -> None:
    """`wait_until_gone` beside a running event loop."""
    __tracebackhide__ = True
    deadline = time.monotonic() + within
    while left := remaining():
        if time.monotonic() > deadline:
            _fail(what, within, left)
        await asyncio.sleep(_POLL_S)


async def _value(predicate: Callable[[], T | Awaitable[T]]) -> T:
    value = predicate()
    return await value if inspect.isawaitable(value) else value


def _fail(what: str, within: float, last: object) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError(f"not within {within:g} s: {what} (last value: {last!r})")
