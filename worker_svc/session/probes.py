"""Carries out what the circuit breaker decides: waits, runs `--version` before a probe, has leases released, logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from structlog.typing import FilteringBoundLogger

from worker_svc.guard.child import GuardLostError
from worker_svc.health import CircuitBreaker, CircuitState
from worker_svc.outcome import Failed, Outcome
from worker_svc.runner import CannotRunError, CliUnusableError, RunExpiredError
from worker_svc.session.leases import Lease
from worker_svc.session.loop import Loop

_log: FilteringBoundLogger = structlog.get_logger()


class Probes:
    """A worker's circuit breaker, with its clock."""

    def __init__(
        self, version: Callable[[], Awaitable[str]], opened: Callable[[], None], changed: Callable[[], None]
    ) -> None:
        """`version` runs `--version`, and raises CliUnusableError.

        `opened` is called when the circuit opens, `changed` when there may be something to send.
        """
        self.breaker = CircuitBreaker()
        self._version = version
        self._opened = opened
        self._changed = changed
        self._recovery = Loop(self._wait_to_half_open)

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: no lease is taken until its pause is over."""
        return self.breaker.state is CircuitState.OPEN

    @property
    def unhealthy(self) -> bool:
        return self.breaker.state is not CircuitState.CLOSED

    def admit(self, lease: Lease) -> bool:
        admitted = self.breaker.admit(lease)
        if admitted and self.unhealthy:
            _log.info("probing the CLI with one task", action="worker.probing", **lease.log_keys)
        return admitted

    def record_run(self, lease: Lease, outcome: Outcome, lasted: float) -> None:
        former_state = self.breaker.state
        self.breaker.record_run(lease, outcome, lasted)
        if self.breaker.state is former_state:
            return
        if not isinstance(outcome, Failed):
            _log.info("the CLI works again", action="worker.healthy", **lease.log_keys)
            return
        # The message may quote the task: it goes where tasks are shown, not into the log.
        _log.error(
            "the CLI fails at once or is missing: the worker takes one task at a time, as a probe",
            action="worker.unhealthy",
            reason=outcome.reason,
            exit_code=outcome.details.get("exit_code", ""),
            next_probe_in=round(self.breaker.pause, 1),
            **lease.log_keys,
        )
        self._recovery.start()
        self._opened()

    async def close(self) -> None:
        await self._recovery.stop()

    async def _wait_to_half_open(self) -> None:
        """Waits for the pause to pass, and for another one each time that the CLI cannot be run."""
        while self.is_open:
            await asyncio.sleep(self.breaker.pause)
            try:
                await self._version()
            except GuardLostError:
                return  # the worker ends
            except (CliUnusableError, CannotRunError, RunExpiredError, OSError) as error:
                self.breaker.reopen(str(error))
                pause = round(self.breaker.pause, 1)
                _log.error("the CLI can't be run", action="worker.unusable", error=str(error), next_probe_in=pause)
            else:
                self.breaker.half_open()
            self._changed()
