"""Which caller has how many calls under way, and on whose behalf a call runs. Part of `api`, inside `guard`.

Lives on the event loop. A call is counted before its message is read, and until its answer has gone out: one that
nobody takes still needs its memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from functools import partial
from typing import Any

from grpc import aio

from scheduler_svc.api.access.auth import OPEN, caller
from scheduler_svc.api.server.limits import Limits
from scheduler_svc.application.calls import CALLER
from scheduler_svc.domain.errors import TooManyCalls

Context = aio.ServicerContext[Any, Any]


class Kind(Enum):
    """What is counted apart, by what a caller is told of it."""

    CALL = "calls"
    WAIT = "WaitTask calls"
    WATCH = "WatchTasks streams"
    LEASE = "Lease streams"
    PROBE = "health calls"


_KINDS: Mapping[str, Kind] = {
    "/contentgen.v1.TaskService/WaitTask": Kind.WAIT,
    "/contentgen.v1.TaskService/WatchTasks": Kind.WATCH,
    "/contentgen.v1.WorkerService/Lease": Kind.LEASE,
    **dict.fromkeys(OPEN, Kind.PROBE),
}
"""By method; what is not here is a CALL."""


class _Caller:
    """Whoever has a call under way."""

    def __init__(self, arriving_at_once: int) -> None:
        self.counts: Counter[Kind] = Counter()
        self.arriving = asyncio.Semaphore(arriving_at_once)


class Callers:
    """Who has which calls under way."""

    def __init__(self, limits: Limits) -> None:
        self._arriving_at_once = limits.arriving
        self._most = {
            Kind.CALL: limits.calls,
            Kind.WAIT: limits.waits,
            Kind.WATCH: limits.watches,
            Kind.LEASE: limits.leases,
            Kind.PROBE: limits.probes,
        }
        self._most_probes = limits.all_probes
        self._probes = 0
        self._callers: dict[str, _Caller] = {}

    def begin(self, method: str, context: Context) -> asyncio.Semaphore:
        """Counts a call until it is over, and runs it on its caller's behalf. Raises TooManyCalls.

        Its message is read within what this returns.
        """
        kind, who = _KINDS.get(method, Kind.CALL), _who(context)
        of = self._callers.get(who) or _Caller(self._arriving_at_once)
        self._check(kind, of)
        self._callers[who] = of
        CALLER.set(who)
        of.counts[kind] += 1
        self._probes += kind is Kind.PROBE
        context.add_done_callback(partial(self._end, kind, who))  # type: ignore[arg-type] # the stubs name no function
        return of.arriving

    def _end(self, kind: Kind, who: str, context: Context) -> None:
        of = self._callers[who]
        of.counts[kind] -= 1
        self._probes -= kind is Kind.PROBE
        if not of.counts.total():
            del self._callers[who]

    def _check(self, kind: Kind, of: _Caller) -> None:
        if of.counts[kind] >= self._most[kind]:
            raise TooManyCalls(f"this caller has {self._most[kind]:,} {kind.value} under way")
        if kind is Kind.PROBE and self._probes >= self._most_probes:
            raise TooManyCalls(f"{self._most_probes:,} {kind.value} are under way")


def _who(context: Context) -> str:
    """The name of the caller's token, or the address without its port: neither can be taken for the other."""
    return caller().name or context.peer().rpartition(":")[0]
