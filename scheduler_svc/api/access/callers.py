"""How many calls each caller has in progress, and for which caller a call runs. Part of `api`.

Runs on the event loop. A call is counted from before its message is read until its response is sent: a response that
the client does not read still holds memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any

from grpc import aio

from scheduler_svc.api.access.auth import OPEN, caller
from scheduler_svc.api.server.limits import Limits
from scheduler_svc.application.calls import CALLER
from scheduler_svc.domain.errors import TooManyCalls

Context = aio.ServicerContext[Any, Any]


class CallKind(Enum):
    """What is counted separately, with its name in error messages."""

    CALL = "calls"
    WAIT = "WaitTask calls"
    WATCH = "WatchTasks streams"
    LEASE = "Lease streams"
    PROBE = "health checks"
    HEALTH_WATCH = "health watches"


_KINDS: Mapping[str, CallKind] = {
    "/contentgen.v1.TaskService/WaitTask": CallKind.WAIT,
    "/contentgen.v1.TaskService/WatchTasks": CallKind.WATCH,
    "/contentgen.v1.WorkerService/Lease": CallKind.LEASE,
    **dict.fromkeys(OPEN, CallKind.PROBE),
    "/grpc.health.v1.Health/Watch": CallKind.HEALTH_WATCH,
}
"""By method; all others are CALL."""


class _OpenCalls:
    def __init__(self, max_receiving: int) -> None:
        self.counts: Counter[CallKind] = Counter()
        self.receiving = asyncio.Semaphore(max_receiving)


class Callers:
    """The calls in progress, by caller."""

    def __init__(self, limits: Limits, end: Callable[[asyncio.Task[Any]], None]) -> None:
        """`end` ends the call of a task."""
        self._max_receiving = limits.receiving
        self._max = {
            CallKind.CALL: limits.calls,
            CallKind.WAIT: limits.waits,
            CallKind.WATCH: limits.watches,
            CallKind.LEASE: limits.leases,
            CallKind.PROBE: limits.probes,
            CallKind.HEALTH_WATCH: limits.health_watches,
        }
        self._end_call = end
        self._max_probes = limits.all_probes
        self._probes: dict[Context, asyncio.Task[Any]] = {}  # the oldest first
        self._max_health_watches = limits.all_health_watches
        self._health_watches = 0
        self._callers: dict[str, _OpenCalls] = {}

    def begin(self, method: str, context: Context) -> asyncio.Semaphore:
        """Counts a call until it ends, and runs it for its caller. Raises TooManyCalls.

        Returns the semaphore to hold while its message is read.
        """
        kind, name = _KINDS.get(method, CallKind.CALL), _caller_name(context)
        own = self._callers.get(name) or _OpenCalls(self._max_receiving)
        self._check(kind, own)
        self._callers[name] = own
        CALLER.set(name)
        own.counts[kind] += 1
        self._health_watches += kind is CallKind.HEALTH_WATCH
        if kind is CallKind.PROBE:
            self._begin_probe(context)
        context.add_done_callback(partial(self._end, kind, name))  # type: ignore[arg-type] # the stubs name no function
        return own.receiving

    def _end(self, kind: CallKind, name: str, context: Context) -> None:
        own = self._callers[name]
        own.counts[kind] -= 1
        self._health_watches -= kind is CallKind.HEALTH_WATCH
        self._probes.pop(context, None)
        if not own.counts.total():
            del self._callers[name]

    def _check(self, kind: CallKind, own: _OpenCalls) -> None:
        if own.counts[kind] >= self._max[kind]:
            raise TooManyCalls(f"this caller has {self._max[kind]:,} {kind.value} in progress")
        if kind is CallKind.HEALTH_WATCH and self._health_watches >= self._max_health_watches:
            raise TooManyCalls(f"{self._max_health_watches:,} {kind.value} are in progress")

    def _begin_probe(self, context: Context) -> None:
        """Ends the oldest if there are too many: a balancer's check is never refused because others stall theirs."""
        task = asyncio.current_task()
        assert task
        if len(self._probes) >= self._max_probes:
            self._end_call(self._probes.pop(next(iter(self._probes))))
        self._probes[context] = task


def _caller_name(context: Context) -> str:
    """The name of the caller's token, or the address without its port; neither can look like the other."""
    return caller().name or context.peer().rpartition(":")[0]
