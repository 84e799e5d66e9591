"""Executes one lease in its slot: mark, run, result with its files on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from worker_svc.creators.base import Job, RunReporter
from worker_svc.guard import now
from worker_svc.guard.child import GuardLostError
from worker_svc.outcome import Article, Outcome, Reason, failed
from worker_svc.runner import CannotRunError, CliRun, RunExpiredError, Runner
from worker_svc.session import wire
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.leases import Lease, LeaseBook, StopReason
from worker_svc.session.outbox import PendingUpdate

MAX_FETCHING = 120.0
"""Seconds in which the pictures of a result are read by their addresses; at most half of the time until its report."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LeaseExecutor:
    """Runs the CLI for leases, and keeps their results in the journal."""

    book: LeaseBook
    runner: Runner
    journal: DurableJournal
    report_on: Callable[[Lease], RunReporter]
    opened: Callable[[str, CliRun], None]
    """Gets the run of a lease before its CLI starts."""
    ran: Callable[[Lease, Outcome, float], None]
    """Gets the outcome of each run that was not stopped, and the seconds that it took."""

    async def execute(self, lease: Lease, job: Job) -> PendingUpdate:
        """Returns the update that ends an accepted lease, once no process of its run lives.

        To stop a lease, set `lease.stop` and cancel this.
        """
        ending, run = None, None
        try:
            await self.journal.mark(lease)
            variables = lease.trace.variables() if lease.trace else {}
            async with self.runner.open(lease.lease_id, lease.deadline, variables) as run:
                self.opened(lease.lease_id, run)
                began = now()
                outcome = await self._outcome(lease, run, job)
                if outcome is not None and lease.stop is None:
                    self.book.settle(lease)
                    self.ran(lease, outcome, now() - began)
                    ending = await self._kept(lease, outcome, run)
        except asyncio.CancelledError:  # before its run was open
            if lease.stop is None:
                raise
        except OSError as error:
            self._refuse(lease, error)
        self.journal.marks.clear(lease.lease_id)
        return ending or _ending_of_stop(lease, run)

    async def _outcome(self, lease: Lease, run: CliRun, job: Job) -> Outcome | None:
        """Returns the outcome of the run; None if it was stopped, for the reason in `lease.stop`."""
        try:
            return await self.runner.execute(run, job, self.report_on(lease))
        except asyncio.CancelledError:
            if lease.stop is None:
                raise
        except RunExpiredError:
            self.book.stop(lease, StopReason.EXPIRED)
        except CannotRunError as error:
            self._refuse(lease, error)
        except GuardLostError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in a creator fails the attempt, never the worker
            _log.exception("a creator failed", action="creator.fault", **lease.log_keys)
            return failed(Reason.CREATOR_ERROR, f"the worker could not drive the CLI: {type(error).__name__}: {error}")
        return None

    async def _kept(self, lease: Lease, outcome: Outcome, run: CliRun) -> PendingUpdate:
        """Returns the update that ends the lease, once it is on disk with the files that it names."""
        ending = None
        assets = self.journal.assets
        try:
            if isinstance(outcome, Article):
                article = await assets.taken(lease.lease_id, run.folder, outcome)
                ending = await self._kept_as(lease, article, run)
                limit = min(MAX_FETCHING, (lease.report_by - now()) / 2)
                if limit > 0 and assets.may_fetch(outcome):  # what is paid for is on disk by now
                    article = await assets.taken(lease.lease_id, run.folder, outcome, limit)
                    ending = await self._kept_as(lease, article, run)
        except Exception:  # noqa: BLE001 - the article counts, with or without its files
            _log.exception("the files of a result can't be taken", action="asset.fault", **lease.log_keys)
        return ending or await self._kept_as(lease, outcome, run)

    async def _kept_as(self, lease: Lease, outcome: Outcome, run: CliRun) -> PendingUpdate:
        ending = wire.with_output(wire.ending_of(lease, outcome), run.output)
        await self.journal.keep(lease, ending)
        return ending

    def _refuse(self, lease: Lease, error: Exception) -> None:
        _log.error("this worker can't run any CLI now", action="lease.refused", error=str(error), **lease.log_keys)
        self.book.stop(lease, StopReason.REFUSED)


def _ending_of_stop(lease: Lease, run: CliRun | None) -> PendingUpdate:
    """Returns the update that ends a stopped lease; `run` is None if none was opened."""
    reason = lease.stop or StopReason.REFUSED
    if run is None:
        return wire.ending_of_stop(lease, reason, started=False)
    return wire.with_output(wire.ending_of_stop(lease, reason, started=run.started), run.output)
