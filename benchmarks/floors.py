"""What gRPC does by itself on this machine, at this moment: the goals of single calls are read against it.

The goals are of one machine in one mood, and a bare call was measured there too. What a figure would be there is what
it is here, times how much quicker a bare call is there. So a slow or a busy machine does not look like a slow program.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks import scenario
from benchmarks.child import Child
from benchmarks.stack import Stack

UNARY_PER_SECOND = 8_400.0
"""Bare unary calls with 64 in flight, on the goals' machine."""
UNARY_MS = 0.56
"""A bare unary call, one at a time: the median there."""
_CALLS = 10_000


@asynccontextmanager
async def bare_server(stack: Stack) -> AsyncIterator[str]:
    """A server that does nothing else; gives its target."""
    async with Child("bare_server", stack.folder, "bare_server") as server:
        yield str(server.first["target"])


async def unary_per_second(stack: Stack) -> float:
    """Bare unary calls of one task with 64 in flight, by the loader of the real measure."""
    async with bare_server(stack) as target:
        return (await scenario.load(stack, _CALLS, batch=1, in_flight=64, target=target)).per_second
