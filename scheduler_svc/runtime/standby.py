"""Reads from a standby: those of RPCs that may be stale, as long as it has all that the primary had a moment ago.

Each second the primary says how far its log is flushed. A read names the position that it needs, and the standby that
answers says first whether it has replayed that: whichever of several it is, no clock is compared, and an idle primary
counts as no lag. Where it has not, does not answer or lacks what is asked for, the read runs again on the primary.

A caller that has changed something reads from the primary until the standby has the change. Submits are left out: a
caller that submits all the time would never read elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import structlog

from scheduler_svc.domain.errors import NotFound, StoreUnavailable
from scheduler_svc.domain.system import StandbyState, WalPosition
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.access import MAY_BE_STALE
from scheduler_svc.runtime.calls import CALLER, Calls

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx

CHECK_INTERVAL = 1.0
ANSWER_TIMEOUT = 3.0
"""Seconds after which a read is run on the primary instead: callers wait 10 s by default."""
AWAY, LAGS, NOT_STANDBY, OTHER_DATABASE = "AWAY", "LAGS", "NOT_STANDBY", "OTHER_DATABASE"
"""Why it is not read, as `Replica.standby_problem` says it."""
_BEHIND = object()
_log = structlog.get_logger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


class _Sample(NamedTuple):
    """All that was committed before `time`, by `time.monotonic`, is before `position`."""

    time: float
    position: WalPosition


class Standby:
    """Lives on the event loop; a Periodic repeats `run_once`."""

    def __init__(self, primary: Calls, calls: Calls, max_lag: float, metrics: Metrics | None) -> None:
        """`calls` leads to the standby. It is used while at most `max_lag` seconds behind."""
        self._primary = primary
        self.calls = calls
        self._max_lag = max_lag
        self._metrics = metrics
        self._samples: deque[_Sample] = deque()
        self._changes: dict[str, float] = {}
        self.state = StandbyState(AWAY)

    async def run_once(self) -> float:
        """Looks at both; returns the seconds until the next look."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                position = await self._primary.run(lambda tx: tx.system.flushed())
            self._note(_Sample(began, position))
            async with asyncio.timeout(ANSWER_TIMEOUT):
                self._set(self._compared(await self.calls.run(lambda tx: tx.system.replayed())))
        except (TimeoutError, StoreUnavailable):
            self._set(StandbyState(AWAY))
        return CHECK_INTERVAL

    def changed(self, caller: str) -> None:
        """A call of `caller` that may have changed something is over."""
        self._changes[caller] = time.monotonic()

    def needed(self, caller: str) -> WalPosition | None:
        """Returns how far a standby must be for a read of `caller`; None if the primary has to answer."""
        if self.state.problem:
            return None
        since = max(time.monotonic() - self._max_lag, self._changes.get(caller, 0.0))
        return next((sample.position for sample in self._samples if sample.time > since), None)

    def fell_back(self, reason: str) -> None:
        if self._metrics:
            self._metrics.standby_fallbacks.labels(reason).inc()

    def away(self) -> None:
        """It failed, or has not answered in time: it gets no reads before it has answered again."""
        self._set(StandbyState(AWAY))

    def _note(self, sample: _Sample) -> None:
        """Forgets samples and changes that no read can ask for any more."""
        self._samples.append(sample)
        while len(self._samples) > 1 and self._samples[1].time < sample.time - self._max_lag:
            self._samples.popleft()
        self._changes = {caller: since for caller, since in self._changes.items() if since > self._samples[0].time}

    def _compared(self, replayed: WalPosition | None) -> StandbyState:
        if replayed is None:
            return StandbyState(NOT_STANDBY)
        if replayed.system != self._samples[-1].position.system:
            return StandbyState(OTHER_DATABASE)
        now = time.monotonic()
        lag = next((now - time for time, position in reversed(self._samples) if replayed.lsn >= position.lsn), None)
        return StandbyState("" if lag is not None and lag <= self._max_lag else LAGS, lag)

    def _set(self, state: StandbyState) -> None:
        if state.problem != self.state.problem:
            log = _log.warning if state.problem else _log.info
            log(
                "the standby is not read" if state.problem else "the standby is read",
                action="standby",
                **state._asdict(),
            )
        self.state = state
        if self._metrics:
            self._metrics.sample_standby(state)


class Reads(Calls):
    """Clients' reads. `standby` is set if there is one."""

    standby: Standby | None = None

    async def run(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self.standby is not None and MAY_BE_STALE.get():
            answer = await self._stale(self.standby, lambda tx: work(tx, *args, **kwargs))
            if answer is not _BEHIND:
                return answer  # type: ignore[no-any-return]
            MAY_BE_STALE.set(False)
        return await super().run(work, *args, **kwargs)

    async def _stale(self, standby: Standby, work: Callable[[Tx], Any]) -> Any:
        """Returns what the standby answers; `_BEHIND` if the primary has to be asked."""
        needed = standby.needed(CALLER.get())
        if needed is None:
            reason = standby.state.problem or "CHANGED"
        else:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    answer = await standby.calls.run(_if_replayed, needed, work)
                if answer is not _BEHIND:
                    return answer
                reason = LAGS
            except NotFound:  # it may be too young for the standby
                reason = "MISSING"
            except TimeoutError:  # it may be frozen: nobody else waits for that
                standby.away()
                reason = AWAY
            except StoreUnavailable:
                reason = AWAY
        standby.fell_back(reason)
        return _BEHIND


def _if_replayed(tx: Tx, needed: WalPosition, work: Callable[[Tx], Any]) -> Any:
    replayed = tx.system.replayed()
    if replayed is None or replayed.system != needed.system or replayed.lsn < needed.lsn:
        return _BEHIND
    return work(tx)
