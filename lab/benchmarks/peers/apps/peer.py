"""What a module of a peer gives: its side that enqueues. Its workers are started by a command line of their own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable

IN_FLIGHT = 64
"""Calls at once, where a peer's client is asynchronous."""
BULK = 1_000
"""Tasks a call, where a peer has a bulk call."""


class Peer(ABC):
    """On servers that are empty."""

    async def open(self) -> None:  # noqa: B027 - many need nothing
        """Makes what the peer needs, such as its tables."""

    @abstractmethod
    async def one_by_one(self, numbers: range) -> None:
        """Enqueues a task for each number, a call each."""

    async def bulk(self, numbers: range) -> None:
        """The same in bulk; only where the peer has it."""
        raise NotImplementedError

    @abstractmethod
    async def unfinished(self) -> int:
        """Tasks that are not done and not acknowledged."""

    async def kept(self) -> int:
        """Results in the peer's own store."""
        return 0


async def in_flight(call: Callable[[int], Awaitable[object]], numbers: Iterable[int]) -> None:
    """Calls for each number, so many at once."""
    turns = iter(numbers)

    async def caller() -> None:
        for number in turns:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))


def parts(numbers: range) -> Iterable[range]:
    """For bulk calls."""
    return (numbers[start : start + BULK] for start in range(0, len(numbers), BULK))
