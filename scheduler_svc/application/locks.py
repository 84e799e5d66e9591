"""Who holds the locks that the replica's work waits for."""

from __future__ import annotations

import asyncio
import time

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import LockHolder
from scheduler_svc.domain.errors import StoreUnavailable

LOOKS_FOR = 1.0
"""Seconds: what is set aside is tried again twice in that time, and waits for its lock some 50 ms each time."""
_PAUSE = 0.02


class LockHolders:
    """Looks for them. Lives on the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def find(self) -> list[LockHolder]:
        """The sessions that ours wait for, the longest transaction first; empty where none is seen in time."""
        until = time.monotonic() + LOOKS_FOR
        try:
            while not (found := await self._calls.run(_holders)) and time.monotonic() < until:  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE)
        except StoreUnavailable:
            return []
        return found


def _holders(tx: Tx) -> list[LockHolder]:
    return tx.locks.holders()
