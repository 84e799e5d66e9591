"""What every page says beside its own: what of dispatch is paused, and how much waits behind a link of the navigation.

It is asked for once in a while for each session, however many pages that looks at.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contentgen import DispatchStatus, RequestError

if TYPE_CHECKING:
    from console_svc.web.sessions import Session

FRESH = 5.0
"""Seconds for which it is shown again."""
Count = Callable[["Session"], Awaitable[str]]


@dataclass(slots=True)
class Standing:
    dispatch: DispatchStatus | None = None
    """None: unknown, or the user may not know it."""
    counts: Mapping[str, str] = field(default_factory=dict)
    """By the path of the link."""
    _until: float = 0.0

    def forget(self) -> None:
        """Has the next page ask again; until it has its answers the old ones hold."""
        self._until = 0.0

    async def renew(self, session: Session, counted: Mapping[str, Count]) -> None:
        """Asks again if it was long ago. An error is for the page itself to meet."""
        if time.monotonic() < self._until:
            return
        self._until = time.monotonic() + FRESH
        with suppress(RequestError):
            if session.may("WorkerPoolService/GetDispatchStatus"):
                self.dispatch = await session.client.get_dispatch_status()
            counts = await asyncio.gather(*(count(session) for count in counted.values()))
            self.counts = dict(zip(counted, counts, strict=True))
