"""Carries one lease through its slot: mark, run, ending on disk.

Layer: inside session, over runner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from worker_svc.creators.base import Job, RunReporter
from worker_svc.guard import GuardLostError, now
from worker_svc.outcome import Outcome, Reason, failed
from worker_svc.runner import CannotRunError, CliRun, RunExpiredError
from worker_svc.session import wire
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.leases import Lease, LeaseBook, StopReason
from worker_svc.session.outbox import PendingUpdate

_log: FilteringBoundLogger = structlog.get_logger()


class TaskRunner(Protocol):
    """What carries out a task; `runner.Runner` is it."""

    def open(self, name: str, deadline: float) -> AbstractAsyncContextManager[CliRun]:
        """A run, guarded until `deadline`; on leaving, nothing of it lives."""
        ...

    async def execute(self, run: CliRun, job: Job, report: RunReporter) -> Outcome:
        """One attempt at `job`."""
        ...

    async def version(self) -> str:
        """What the CLI's `--version` says. Raises CliUnusableError."""
        ...

    def move_deadlines(self, deadlines: Mapping[str, float]) -> None:
        """Leases of runs were renewed."""
        ...

    def set_grace(self, seconds: float) -> None:
        """A run that is stopped has so long between TERM and KILL."""
        ...


class LeaseExecutor:
    """Takes leases through their runs; `book` says which of them are to be stopped."""

    def __init__(
        self,
        book: LeaseBook,
        runs: TaskRunner,
        keeper: DurableJournal,
        report_on: Callable[[Lease], RunReporter],
        ran: Callable[[Lease, Outcome, float], None],
    ) -> None:
        """`ran` is told what each run came to that was not stopped, and how many seconds it took."""
        self._book = book
        self._runs = runs
        self._journal = keeper
        self._report_on = report_on
        self._ran = ran

    async def execute(self, lease: Lease, job: Job) -> PendingUpdate:
        """The update that ends an accepted lease, once nothing of its run lives.

        Cancelling it is how a lease is stopped; `lease.stop` says why, and is set before.
        """
        ending, started = None, False
        try:
            await self._journal.mark(lease)
            async with self._runs.open(lease.lease_id, lease.deadline) as run:
                began = now()
                outcome = await self._outcome(lease, run, job)
                started = run.started
                if outcome is not None and lease.stop is None:
                    self._book.settle(lease)
                    self._ran(lease, outcome, now() - began)
                    ending = wire.ending_of(lease, outcome)
                    await self._journal.keep(lease, ending)
        except asyncio.CancelledError:  # before its run was open
            if lease.stop is None:
                raise
        except OSError as error:
            self._refuse(lease, error)
        self._journal.unmark(lease)
        return ending or wire.ending_of_stop(lease, lease.stop or StopReason.REFUSED, started=started)

    async def _outcome(self, lease: Lease, run: CliRun, job: Job) -> Outcome | None:
        """What the run came to; None where it was stopped: then `lease.stop` says why, and nothing stops it again."""
        try:
            return await self._runs.execute(run, job, self._report_on(lease))
        except asyncio.CancelledError:
            if lease.stop is None:
                raise
        except RunExpiredError:
            self._book.stop(lease, StopReason.EXPIRED)
        except CannotRunError as error:
            self._refuse(lease, error)
        except GuardLostError:
            raise
        except Exception as error:  # noqa: BLE001 - a creator's fault ends the task's attempt, never the worker
            _log.exception("a creator failed", action="creator.fault", **lease.log_keys)
            return failed(Reason.CREATOR_ERROR, f"the worker could not drive the CLI: {type(error).__name__}: {error}")
        return None

    def _refuse(self, lease: Lease, error: Exception) -> None:
        _log.error(
            "this worker can't run anything now",
            action="lease.refused",
            error=str(error),
            **lease.log_keys,
        )
        self._book.stop(lease, StopReason.REFUSED)
