"""The loop that keeps the search index of contents. Each replica has one; they take turns."""

from __future__ import annotations

import time
from contextlib import suppress

from scheduler_svc.contents.work import index_contents, unindexed
from scheduler_svc.domain.change import Watermark
from scheduler_svc.domain.errors import LockTimeout
from scheduler_svc.runtime.calls import Calls

INTERVAL = 1.0
"""Seconds after which it looks for new contents, while some come."""
IDLE_INTERVAL = 5.0
"""The same where it found none: a search examines those that are not indexed yet."""
MAX_INDEXED = 500
"""Contents that it indexes then: a tenth of a second."""
MANY, MAX_INDEXED_MEANWHILE = 100, 50
"""While more than so many contents come between two looks, tasks have the database: it indexes fewer."""
REST = 20
"""It rests this many times as long as it worked."""


class SearchIndexer:
    """A Periodic repeats `run_once`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._watermark = Watermark()
        self._settled = 0
        self._last = 0

    async def run_once(self) -> float:
        """Indexes some of the contents that are not indexed; returns the seconds until the next time."""
        snapshot = await self._calls.run(unindexed)
        if snapshot is None:
            return IDLE_INTERVAL
        self._settled = self._watermark.settled(snapshot) or self._settled
        limit = MAX_INDEXED_MEANWHILE if snapshot.last - self._last > MANY else MAX_INDEXED
        self._last = snapshot.last
        began = time.monotonic()
        with suppress(LockTimeout):  # somebody has locked a content; a search examines it meanwhile
            await self._calls.run(index_contents, self._settled, limit)
        return max(INTERVAL, REST * (time.monotonic() - began))
