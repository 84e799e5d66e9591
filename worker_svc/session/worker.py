"""The worker: which leases it holds, and what it does on a message. It knows no stream; the connection calls it.

`leases`, `slots` and `outbox` decide; this module carries their decisions out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial
from math import inf

import structlog

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.config import MAX_SLOTS, WorkerSettings
from worker_svc.guard import now
from worker_svc.metrics import WorkerMetrics
from worker_svc.outcome import Article, Deferred, Failed, Outcome
from worker_svc.runner import Runner
from worker_svc.session import wire
from worker_svc.session.asset_uploads import AssetUploads, Put
from worker_svc.session.deadlines import Renewal, grace
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.health import Probes
from worker_svc.session.lease_executor import LeaseExecutor
from worker_svc.session.leases import NO_TRACER, Lease, LeaseBook, StopAction, StopReason, Tracer
from worker_svc.session.outbox import Outbox, PendingUpdate, UpdateKind
from worker_svc.session.reporter import LeaseReporters
from worker_svc.session.slots import REFUSAL_PAUSE, Intake, Slots
from worker_svc.session.tails import Tails

CHECK_INTERVAL = 0.2  # seconds between two checks of deadlines, while any lease is held

_log = structlog.get_logger()


_OUTCOMES = {Article: "COMPLETED", Deferred: "DEFERRED"}
"""What the metrics call the end of a run that did not fail."""


class Worker:
    """Everything that a worker holds. `on_change` is called whenever there may be something to send."""

    def __init__(
        self,
        settings: WorkerSettings,
        runner: Runner,
        journal: DurableJournal,
        on_change: Callable[[], None],
        *,
        metrics: WorkerMetrics,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self.book = LeaseBook()
        self.outbox = Outbox()
        self.broken = asyncio.Event()
        """Set when it is no longer known what runs: the worker then has to exit."""
        self.has_run_one = asyncio.Event()
        """Set when a worker that runs one task drains because it has."""
        self.empty = asyncio.Event()
        """Set while no lease is held: every one has ended and is acknowledged."""
        self.empty.set()
        self._runs_one = settings.run_one
        """Whether it drains by itself after the first run, and its one slot stays the only one."""
        self.slots = Slots(1, 0) if settings.run_one else Slots(settings.slots, settings.queue_size)
        self._guard = runner.guard
        self.journal = journal
        self._on_change = on_change
        self._metrics = metrics
        self._tracer = tracer
        self.probes = Probes(runner.version, self._circuit_opened, on_change)
        self.reporters = LeaseReporters(self.book, self._add, on_change)
        self.tails = Tails(self.book, on_change)
        self.uploads = AssetUploads(journal.assets, self._report_by, self._add)
        self.intake = Intake(self.book, self.slots, journal, self.probes)
        self._executor = LeaseExecutor(self.book, runner, journal, self.reporters.open, self.tails.opened, self._ran)
        self._assigned: dict[str, pb.AssignedLease] = {}  # those that wait for a slot
        self._executions: dict[str, asyncio.Task[PendingUpdate]] = {}
        self._held = asyncio.Event()

    @property
    def last_error(self) -> str:
        """Why the CLI counts as broken, why the disk refuses, or which result does not get through; else empty."""
        if self.probes.breaker.last_error:
            return self.probes.breaker.last_error
        if not self.journal.healthy:
            return f"the data folder can't be written: {self.journal.refusal}"
        if not (stuck := self.outbox.stuck):
            return ""
        ends = self.outbox.stream_ends(stuck[0])
        return f"a result of {stuck[0].size:,} bytes does not get through: {ends} streams ended while it was sent"

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits for a slot, and every unacknowledged result is in the spool."""
        return not self._executions and not self._assigned and self.journal.all_written

    def sample(self) -> None:
        metrics = self._metrics
        metrics.slots.set(self.slots.size)
        metrics.slots_in_use.set(self.slots.taken)
        metrics.queued.set(self.slots.queued)
        metrics.held.set(len(self.book))
        metrics.circuit_closed.set(not self.probes.unhealthy)
        metrics.spooled.set(len(self.journal.spool.lease_ids))
        metrics.oldest_spooled.set(self.journal.spool.oldest_age)
        metrics.disk_writable.set(self.journal.healthy)

    # What the scheduler sends

    def welcomed(self, drop: Collection[str], lease_ttl: float, put: Put | None) -> None:
        """Sends again, in an open session, what was not acknowledged, and stops the leases in `drop`.

        `put` uploads assets; None: the scheduler stores none.
        """
        self._guard.set_grace(grace(lease_ttl))
        self.outbox.rewind()
        self.uploads.closed()
        for update in self.outbox.withdraw(_names_assets):
            self.uploads.add(update)
        self.uploads.opened(put, late=drop)
        self.reporters.polls.forget()
        self.tails.forget()
        self.revoked(drop)

    def stream_ended(self) -> None:
        """Notes that a stream ended, for no reason of the scheduler: an update that was in flight may be the cause."""
        for update in self.outbox.stream_ended(now()):
            lease = self.book.get(update.lease_id)
            _log.error(
                "a result does not get through: it is sent again after a pause. Does a proxy between worker and "
                "scheduler limit the size of requests? (nginx: client_max_body_size 0)",
                action="result.stuck",
                size=update.size,
                streams=self.outbox.stream_ends(update),
                **(lease.log_keys if lease else {"lease_id": update.lease_id}),
            )

    def assigned(self, leases: Iterable[pb.AssignedLease], deadline: float | None) -> None:
        """Takes new leases; `deadline` is None if they arrived too late to be started."""
        received_at = now()
        for assigned_lease in leases:
            lease = wire.lease_of(assigned_lease, received_at, received_at if deadline is None else deadline)
            if self.book.assign(lease):
                self._take(lease, assigned_lease)
        self._note_held()
        self._fill()

    def renewed(self, renewal: Renewal) -> None:
        """Moves the deadlines of the leases that a committed heartbeat renewed."""
        leases = self.book.renew(renewal.renewed, renewal.deadline)
        if leases:
            self._guard.move_deadlines({lease.lease_id: lease.deadline for lease in leases})

    def revoked(self, lease_ids: Iterable[str], reason: str = "LEASE_LOST") -> None:
        for lease_id in lease_ids:
            lease = self.book.get(lease_id)
            if lease is not None and (action := self.book.revoke(lease, now())) is not StopAction.NOTHING:
                self._carry_out(action, lease, StopReason.REVOKED)
                _log.warning("a lease was revoked", action="lease.revoked", reason=reason, **lease.log_keys)

    def reported(self, report_number: int, acks: Iterable[pb.UpdateResult]) -> None:
        """Takes a committed report; `acks` has the outcome of each of its updates."""
        for update, outcome in self.outbox.acknowledged(report_number, acks):
            if update.kind.ends:
                self._acknowledged(update, outcome)
            elif outcome == pb.UPDATE_OUTCOME_LEASE_LOST:
                self.revoked([update.lease_id])
        self._on_change()

    def apply_desired_state(self, desired: pb.DesiredState) -> None:
        self.resize(desired.slots)
        self.want_drain(desired.drain)

    def want_drain(self, wanted: bool) -> None:
        if wanted == self.intake.drain_wanted:
            return
        self.intake.drain_wanted = wanted
        if not wanted:
            _log.info("takes leases again", action="worker.undrained", draining=self.intake.draining)
            self._on_change()
        elif not self.intake.stopping:
            self._release_undone()

    def resize(self, slots: int) -> None:
        """Changes the number of slots. Ignores a number that no worker may have, which no hello could name.

        A worker that runs one task keeps its one slot.
        """
        if 1 <= slots <= MAX_SLOTS and slots != self.slots.size and not self._runs_one:
            _log.info("the number of slots changed", action="worker.resized", slots=slots)
            self.slots.size = slots
            self._fill()

    # What the process asks for

    def restore(self) -> None:
        """Takes up the results that an earlier process left in the spool."""
        for update in self.journal.recover():
            lease = self.book.restore(update.lease_id, update.attempt)
            self._send(update)
            _log.info("a result from the spool", action="spool.recovered", **lease.log_keys)
        self._note_held()
        if not self.empty.is_set():
            self._note_run()

    def drain(self) -> None:
        """Takes no more leases, for good, and releases those that have not started."""
        if not self.intake.stopping:
            self.intake.stopping = True
            self._release_undone()

    def stop_all(self) -> None:
        for lease in list(self.book):
            self._stop(lease, StopReason.DRAINING)

    async def watch_time(self) -> None:
        """Stops what reaches its deadline. Runs until it is cancelled."""
        while True:
            await self._held.wait()
            await asyncio.sleep(CHECK_INTERVAL)
            at = now()
            for lease, reason in self.book.due(at):
                self._stop(lease, reason)
            self.reporters.check(at)

    async def close(self) -> None:
        """Gives up what still runs, and waits for writes in progress. Spool and marks keep what is held."""
        while self._executions:  # a run that ends meanwhile frees its slot for one that waits
            for task in self._executions.values():
                task.cancel()
            await asyncio.gather(*self._executions.values(), return_exceptions=True)
        await self.uploads.close()
        await self.probes.close()
        await self.journal.close()

    # How

    def _take(self, lease: Lease, assigned_lease: pb.AssignedLease) -> None:
        self._assigned[lease.lease_id] = assigned_lease
        if (reason := self.intake.reason_against(lease)) is None:
            self.slots.queue(lease.lease_id)
        else:
            self._stop(lease, reason)

    def _release_undone(self) -> None:
        _log.info("draining", action="worker.draining", running=self.slots.taken, queued=self.slots.queued)
        self._release_queued(StopReason.DRAINING)
        self._on_change()

    def _circuit_opened(self) -> None:
        self._release_queued(StopReason.UNHEALTHY)
        self._on_change()

    def _release_queued(self, reason: StopReason) -> None:
        for lease in list(self.book):
            if lease.lease_id in self._assigned:
                self._stop(lease, reason)

    def _fill(self) -> None:
        while (lease_id := self.slots.next()) is not None:
            lease = self.book.get(lease_id)
            assert lease is not None, "what is queued is held"
            if (too_late := self.book.accept(lease, now())) is not None:
                self._stop(lease, too_late)
                continue
            self.outbox.add(wire.accepted(lease))
            self._tracer.started(lease)
            job = wire.job_of(self._assigned.pop(lease_id))
            task = self._executions[lease_id] = asyncio.create_task(self._executor.execute(lease, job))
            task.add_done_callback(partial(self._executed, lease))
        self._on_change()

    def _ran(self, lease: Lease, outcome: Outcome, seconds: float) -> None:
        name = outcome.reason if isinstance(outcome, Failed) else _OUTCOMES[type(outcome)]
        self._metrics.ran(name, seconds)
        self.probes.record_run(lease, outcome, seconds)

    def _executed(self, lease: Lease, task: asyncio.Task[PendingUpdate]) -> None:
        """Ends a run. This is not part of its task: a task that is cancelled before its first step never begins."""
        del self._executions[lease.lease_id]
        self.reporters.run_over(lease.lease_id)
        try:
            self._end_run(lease, _ending(lease, task))
        except asyncio.CancelledError:
            pass  # the worker closes
        except Exception as error:  # noqa: BLE001 - whatever it is, only the worker's end is safe
            _log.critical("a run failed in an unexpected way", action="run.fault", error=repr(error), **lease.log_keys)
            self.broken.set()

    def _end_run(self, lease: Lease, ending: PendingUpdate) -> None:
        if lease.stop is StopReason.REFUSED:
            self.intake.pause()
            asyncio.get_running_loop().call_later(REFUSAL_PAUSE, self._on_change)
        if wire.has_run(ending):
            self._note_run()
        self._end(lease, ending)
        self._fill()

    def _note_run(self) -> None:
        """Notes that a run is over, here or in an earlier process: a worker of one drains before its slot is free."""
        if self._runs_one:
            self.drain()
            self.has_run_one.set()

    def _stop(self, lease: Lease, reason: StopReason) -> None:
        self._carry_out(self.book.stop(lease, reason), lease, reason)

    def _carry_out(self, action: StopAction, lease: Lease, reason: StopReason) -> None:
        if action is StopAction.END:
            self._assigned.pop(lease.lease_id, None)
            self._end(lease, wire.ending_of_stop(lease, reason, started=False))
        elif action is StopAction.STOP_RUN:
            self._executions[lease.lease_id].cancel()

    def _end(self, lease: Lease, ending: PendingUpdate) -> None:
        self.slots.leave(lease.lease_id)
        self.probes.breaker.record_lease_end(lease.lease_id)
        self.book.settle(lease)
        kind = ending.kind.name.lower()
        self._metrics.lease_ends.labels(kind).inc()
        self._tracer.ended(lease, kind, wire.reason_of(ending))
        _log.info(
            "a lease ended",
            action=f"lease.{kind}",
            **lease.log_keys,
            **({} if lease.stop is None else {"stopped": lease.stop.name.lower()}),
        )
        self.tails.run_over(lease.lease_id)
        self._send(ending)
        self.reporters.polls.record_end(lease.lease_id, now())
        self._on_change()

    def _acknowledged(self, update: PendingUpdate, outcome: int) -> None:
        lease = self.book.forget(update.lease_id)
        self.journal.forget(update.lease_id)
        self._tracer.delivered(update.lease_id, wire.outcome_name(outcome))
        if lease is not None and outcome != pb.UPDATE_OUTCOME_COMMITTED:
            name = wire.outcome_name(outcome)
            _log.warning("the scheduler did not need a result", action="lease.answered", outcome=name, **lease.log_keys)
        self._note_held()

    def _send(self, ending: PendingUpdate) -> None:
        """Sends an update that ends a lease, once the assets that it names are stored."""
        if _names_assets(ending):
            self.uploads.add(ending)
        else:
            self.outbox.add(ending)

    def _add(self, update: PendingUpdate) -> None:
        self.outbox.add(update)
        self._on_change()

    def _report_by(self, lease_id: str) -> float:
        lease = self.book.get(lease_id)
        return inf if lease is None else lease.report_by

    def _note_held(self) -> None:
        for event, holds in ((self._held, len(self.book) > 0), (self.empty, not len(self.book))):
            event.set() if holds else event.clear()


def _names_assets(update: PendingUpdate) -> bool:
    return update.kind is UpdateKind.COMPLETED and bool(wire.assets_of(update))


def _ending(lease: Lease, task: asyncio.Task[PendingUpdate]) -> PendingUpdate:
    """Returns the update that ends a lease whose task is done. Raises what the task raised."""
    if task.cancelled() and lease.stop is not None:  # before its first step
        return wire.ending_of_stop(lease, lease.stop, started=False)
    return task.result()
