"""Carries out what the breaker decides: waits out its pauses, runs `--version` before a task is tried, has leases given
back, says it in the log.

Layer: inside session, over health.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from structlog.typing import FilteringBoundLogger

from worker_svc.guard import GuardLostError
from worker_svc.health import CircuitBreaker, CircuitState
from worker_svc.outcome import Failed, Outcome
from worker_svc.runner import CannotRunError, CliUnusableError, RunExpiredError
from worker_svc.session.leases import Lease

_log: FilteringBoundLogger = structlog.get_logger()


class Probes:
    """The breaker of a worker, with its clock."""

    def __init__(
        self, version: Callable[[], Awaitable[str]], opened: Callable[[], None], changed: Callable[[], None]
    ) -> None:
        """`version` asks the CLI for its version, and raises CliUnusableError.

        `opened` is called when nothing may be taken any more, `changed` when there is something else to state.
        """
        self._breaker = CircuitBreaker()
        self._version = version
        self._opened = opened
        self._changed = changed
        self._waiting: asyncio.Task[None] | None = None

    @property
    def capacity(self) -> int | None:
        """Leases that may be taken beyond those that are held; None: no bound."""
        return self._breaker.capacity

    @property
    def is_open(self) -> bool:
        """Whether nothing is taken, until a pause is over."""
        return self._breaker.state is CircuitState.OPEN

    @property
    def unhealthy(self) -> bool:
        """Whether the CLI counts as broken: from the opening until a try completes."""
        return self._breaker.state is not CircuitState.CLOSED

    @property
    def last_error(self) -> str:
        """Why it counts as broken; empty where it does not."""
        return self._breaker.last_error

    def admit(self, lease: Lease) -> bool:
        """Whether a lease that has come may take its place."""
        admitted = self._breaker.admit(lease)
        if admitted and self.unhealthy:
            _log.info("trying one task", action="worker.probing", **lease.log_keys)
        return admitted

    def ran(self, lease: Lease, outcome: Outcome, lasted: float) -> None:
        """A run came to its own end, `lasted` seconds after its start."""
        before = self._breaker.state
        self._breaker.ran(lease, outcome, lasted)
        if self._breaker.state is before:
            return
        if isinstance(outcome, Failed):
            self._has_opened(lease, outcome)
        else:
            _log.info("the CLI works again", action="worker.healthy", **lease.log_keys)

    def over(self, lease: Lease) -> None:
        """A lease is not held any more."""
        self._breaker.over(lease.lease_id)

    def _has_opened(self, lease: Lease, failure: Failed) -> None:
        # The message may quote the task: it goes where tasks are shown, not into the log.
        _log.error(
            "the CLI fails at once or is gone: nothing is taken but one task at a time, to try",
            action="worker.unhealthy",
            reason=failure.reason,
            exit_code=failure.details.get("exit_code", ""),
            next_try_in=round(self._breaker.pause, 1),
            **lease.log_keys,
        )
        self._waiting = asyncio.create_task(self._wait())
        self._opened()

    async def close(self) -> None:
        """Tries nothing any more."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)

    async def _wait(self) -> None:
        """The pause, and one more each time that the CLI can't be run: then no task is tried."""
        while self.is_open:
            await asyncio.sleep(self._breaker.pause)
            try:
                await self._version()
            except GuardLostError:
                return  # the worker ends
            except (CliUnusableError, CannotRunError, RunExpiredError, OSError) as error:
                self._breaker.reopen(str(error))
                pause = round(self._breaker.pause, 1)
                _log.error("the CLI can't be run", action="worker.unusable", error=str(error), next_try_in=pause)
            else:
                self._breaker.half_open()
            self._changed()
