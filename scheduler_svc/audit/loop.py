"""The audit's buffer, and the loop that stores it: in groups, so that a submit costs no transaction more.

A call that succeeded and is no submit starts the next group, and waits for its commit: a second at most, and not at all
while storing fails. Submits and refused calls do not wait, so a replica that is killed loses their newest events. An
event is not stored in the transaction of its call, since a refused call has none, and all layers would have to pass it
on. While the database is away, events stay in the buffer, and what it can't hold is dropped.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeAlias

import structlog

from scheduler_svc.audit import work
from scheduler_svc.domain.audit import OK, SUBMITS, AuditedCall, AuditEvent, Submits, event_key
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.domain.system import LaneState
from scheduler_svc.runtime.calls import Calls

MAX_WAITING = 20_000
"""Events in the buffer; further ones are dropped."""
MAX_GROUP = 2_000
"""Events of one transaction."""
GROUP_INTERVAL = 0.25
"""Seconds in which events gather that nobody waits for."""
CLOSE_TIMEOUT = 2.0
"""Seconds to store what is in the buffer when the replica stops."""

_log = structlog.get_logger(__name__)

_Line: TypeAlias = tuple[str, int, str]
"""An actor, an account and the RPC of submits."""


class _Group(NamedTuple):
    """What a transaction stores: new events, those of submits that became more, and the newest submits of each line."""

    new: list[AuditEvent]
    extended: list[AuditEvent]
    submits: dict[_Line, Submits]


class AuditLog:
    """The events of one replica. On the event loop; a Periodic repeats `run_once`."""

    def __init__(self, calls: Calls, max_waiting: int = MAX_WAITING, *, now: Callable[[], float] = time.time) -> None:
        """`now` tells the time of events, in Unix time."""
        self._calls = calls
        self._max_waiting = max_waiting
        self._now = now
        self.wake: Callable[[], None] = lambda: None
        """Makes the next round begin; set by whatever repeats them."""
        self._replica: int | None = None
        self._waiting: deque[tuple[int, AuditedCall]] = deque()
        self._awaited: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._submits: dict[_Line, Submits] = {}
        """Those whose minute may not be over."""
        self._last_time = 0
        self._failing = False
        self._dropped = 0
        self._stored_at = time.monotonic()

    def add(self, calls: Sequence[AuditedCall], awaited: bool) -> asyncio.Future[None] | None:
        """Adds the events of one call, to be stored soon.

        Returns a future that is done once they are committed, if `awaited` and if events are being stored at present.
        """
        if len(self._waiting) + len(calls) > self._max_waiting:
            if not self._dropped:
                _log.error("the audit's buffer is full: events are dropped", action="audit", buffer=self._max_waiting)
            self._dropped += len(calls)
            return None
        if not self._waiting:
            asyncio.get_running_loop().call_later(GROUP_INTERVAL, self.wake)
        for call in calls:
            # increasing, since it is the key
            self._last_time = max(self._last_time + 1, int(self._now() * 1e6))
            self._waiting.append((self._last_time, call))
        if not awaited or self._failing:
            return None
        stored = asyncio.get_running_loop().create_future()
        self._awaited.append((self._last_time, stored))
        self.wake()
        return stored

    async def run_once(self) -> float | None:
        """Stores the next group; returns the seconds until the next round, None if the buffer is empty."""
        if not self._waiting:
            return None
        try:
            await self._store(list(islice(self._waiting, MAX_GROUP)))
        except Exception:
            self._failing = True
            self._release(math.inf)
            raise
        if self._dropped:
            _log.error("audit events were dropped", action="audit", count=self._dropped)
        self._failing, self._dropped = False, 0
        if len(self._waiting) >= MAX_GROUP or self._awaited:
            return 0.0
        return GROUP_INTERVAL if self._waiting else None

    async def _store(self, group: list[tuple[int, AuditedCall]]) -> None:
        if self._replica is None:
            self._replica = await self._calls.run(lambda tx: tx.audit.next_replica())
        merged = self._merged(group, self._replica)
        await self._calls.run(work.record, merged.new, merged.extended, repeated=self._failing)
        self._submits = merged.submits
        for _ in group:
            self._waiting.popleft()
        self._stored_at = time.monotonic()
        self._release(group[-1][0])

    def _merged(self, group: Sequence[tuple[int, AuditedCall]], replica: int) -> _Group:
        """Makes one event of the submits of a line within a minute."""
        new, merged = [], {}
        lines = dict(self._submits)
        for call_time, call in group:
            if call.method not in SUBMITS or call.outcome != OK or not call.account_id:
                new.append(AuditEvent(event_key(call_time, replica), *call))
                continue
            line = call[:3]
            submits, before = Submits.of(call_time, replica, call), lines.get(line)
            if before and before.minute == submits.minute:
                submits = before.with_more(submits)
            lines[line] = merged[submits.event_key, line] = submits
        known = {submits.event_key for submits in self._submits.values()}
        extended = [submits.event(*line) for (key, line), submits in merged.items() if key in known]
        new += [submits.event(*line) for (key, line), submits in merged.items() if key not in known]
        newest = max((submits.minute for submits in lines.values()), default=0)
        return _Group(new, extended, {line: submits for line, submits in lines.items() if submits.minute == newest})

    def _release(self, until: float) -> None:
        """Lets the calls go on whose events are of this time, in microseconds, or earlier."""
        while self._awaited and self._awaited[0][0] <= until:
            _, stored = self._awaited.popleft()
            if not stored.done():
                stored.set_result(None)

    def state(self) -> LaneState:
        """Returns the present state. The age is 0 unless storing fails: events gather for a moment as a rule."""
        late = self._failing and self._waiting
        age = max(0.0, self._now() - self._waiting[0][0] / 1e6) if late else 0.0
        return LaneState(age, time.monotonic() - self._stored_at, waiting=len(self._waiting))

    async def close(self) -> None:
        """Stores what is left, for a moment. Nothing may run a round meanwhile."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while self._waiting:
                    await self.run_once()
        if lost := len(self._waiting) + self._dropped:
            _log.error("audit events were dropped", action="audit", count=lost)
