"""The worker: what it holds, and what it does on what it hears. It knows no stream; `link` brings it the messages.

Layer: inside session. Decisions are `leases`', `slots`' and `outbox`'; here they are carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import structlog
from structlog.typing import FilteringBoundLogger

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.guard import now
from worker_svc.session import wire
from worker_svc.session.deadlines import Renewal, grace
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.lease_executor import LeaseExecutor, TaskRunner
from worker_svc.session.leases import Lease, LeaseBook, StopAction, StopReason
from worker_svc.session.outbox import Outbox, PendingUpdate, UpdateAck
from worker_svc.session.polls import OpenPolls
from worker_svc.session.probes import Probes
from worker_svc.session.reporter import LeaseReporter
from worker_svc.slots import Slots

CHECK_INTERVAL = 0.2
"""Seconds between two looks at what has run out of time, while anything is held."""
REFUSAL_PAUSE = 5.0
"""Seconds without free slots after a lease was refused."""
MAX_UNACKNOWLEDGED = 4_000
"""Leases held, ended ones included, from which on the worker asks for none."""

_log: FilteringBoundLogger = structlog.get_logger()


class Worker:
    """Everything that a worker holds. `on_change` is called whenever there may be something to say."""

    def __init__(self, slots: Slots, runs: TaskRunner, keeper: Callable[[Callable[[], None]], DurableJournal]) -> None:
        self.book = LeaseBook()
        self.slots = slots
        self.outbox = Outbox()
        self.polls = OpenPolls()
        self.probes = Probes(runs.version, self._opened, self._changed)
        self.on_change: Callable[[], None] = lambda: None
        self.draining = False
        self.quiesced = asyncio.Event()
        """Set once the scheduler can send no lease any more, as far as this stream knows."""
        self.journal = keeper(self._changed)
        self._runs = runs
        self._executor = LeaseExecutor(self.book, runs, self.journal, self._reporter, self.probes.ran)
        self._jobs: dict[str, pb.AssignedLease] = {}
        self._executions: dict[str, asyncio.Task[PendingUpdate]] = {}
        self._reporters: dict[str, LeaseReporter] = {}
        self.broken = asyncio.Event()
        """Set when it does not know any more what runs: then only its end is safe."""
        self._refuses_until = 0.0
        self._held = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    # What it says

    def restore(self) -> None:
        """Takes up the endings that an earlier process left in the spool."""
        for update in self.journal.recover():
            lease = self.book.restore(update.lease_id, update.attempt)
            self.outbox.add(update)
            _log.info("a result from the spool", action="spool.recovered", **lease.log_keys)
        self._note_held()

    def free_slots(self) -> int:
        """What a state says: leases that it would take now."""
        return 0 if self.closed else self.slots.free(self.probes.capacity)

    def warrants_heartbeat(self, known: int) -> bool:
        """Whether a state should go out at once, when the scheduler can know of `known` free places at most."""
        return self.slots.warrants_heartbeat(known, self.probes.capacity)

    @property
    def closed(self) -> bool:
        """Whether it takes nothing: it drains, refuses, or waits for too many acknowledgements."""
        return self.draining or self.refuses or len(self.book) >= MAX_UNACKNOWLEDGED

    @property
    def refuses(self) -> bool:
        """Whether it takes nothing for its own sake: a state has to say so before leases are given back."""
        return not self.draining and (self._cannot_run or self.probes.is_open)

    @property
    def _cannot_run(self) -> bool:
        return not self.journal.healthy or now() < self._refuses_until

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held: all is ended, and acknowledged."""
        return self._empty.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits for a slot, and each result that is not acknowledged is in the spool."""
        return not self._executions and not self._jobs and self.journal.all_written

    async def wait_until_empty(self) -> None:
        """Returns once nothing is held."""
        await self._empty.wait()

    @property
    def last_error(self) -> str:
        """Why the CLI counts as broken, or which result does not get through; empty where neither is so."""
        if self.probes.last_error or not (stuck := self.outbox.stuck):
            return self.probes.last_error
        ends = self.outbox.stream_ends(stuck[0])
        return f"a result of {stuck[0].size:,} bytes does not get through: {ends} streams ended while it was sent"

    # What it hears

    def welcomed(self, drop: Iterable[str], lease_ttl: float) -> None:
        """A session is open: what was not acknowledged is sent again, and what is dropped is stopped."""
        self._runs.set_grace(grace(lease_ttl))
        self.outbox.rewind()
        self.polls.forget()
        self._revoke(drop)

    def stream_ended(self) -> None:
        """A stream ended without a reason of the scheduler's: what was under way may be why."""
        for update in self.outbox.stream_ended(now()):
            lease = self.book.get(update.lease_id)
            _log.error(
                "a result does not get through: it waits, and is tried again after a pause. Is the size of requests "
                "limited between here and the scheduler? nginx does that: client_max_body_size 0",
                action="result.stuck",
                size=update.size,
                streams=self.outbox.stream_ends(update),
                **(lease.log_keys if lease else {"lease_id": update.lease_id}),
            )

    def assigned(self, leases: Iterable[pb.AssignedLease], deadline: float | None) -> None:
        """New leases; `deadline` is None where they come too late to be started."""
        received_at = now()
        for assigned in leases:
            lease = wire.lease_of(assigned, received_at, received_at if deadline is None else deadline)
            if self.book.assign(lease):
                self._take(lease, assigned)
        self._note_held()
        self._fill()

    def renewed(self, renewal: Renewal) -> None:
        """A state is committed: what it named and the scheduler renewed may run on, the rest is stopped."""
        moved = self.book.renew(renewal.renewed, renewal.deadline)
        if moved:
            self._runs.move_deadlines({lease.lease_id: lease.deadline for lease in moved})

    def revoked(self, lease_ids: Iterable[str], reason: str) -> None:
        """Leases that are not this worker's any more."""
        self._revoke(lease_ids, reason)

    def reported(self, report_number: int, answers: Iterable[UpdateAck]) -> None:
        """A report is committed: what its updates came to."""
        for update, outcome in self.outbox.acknowledged(report_number, answers):
            if update.kind.ends:
                self._acknowledged(update, outcome)
            elif outcome == pb.UPDATE_OUTCOME_LEASE_LOST:
                self._revoke([update.lease_id])
        self._changed()

    def expired(self, lease_id: str) -> None:
        """The guard has ended a run, since its deadline had passed.

        The run finds out by itself: a CLI that the guard ended, or will not start, is `RunExpiredError`. One that had
        ended before has a result, which is paid for and may still be taken: it is read, and judged where it is sent.
        """
        if (reporter := self._reporters.get(lease_id)) is not None:
            reporter.end_pauses()

    def resize(self, slots: int) -> None:
        """Another number of slots is wanted."""
        if slots != self.slots.size:
            _log.info("slots are resized", action="worker.resized", slots=slots)
            self.slots.resize(slots)
            self._fill()

    def poll_now(self, poll_id: str) -> None:
        """Someone wants to know now: no creator waits for its next question to the CLI."""
        if self.polls.knows(poll_id):
            return
        number = self.polls.next_number
        asked = [lease_id for lease_id, reporter in self._reporters.items() if reporter.poll_now(number)]
        self.polls.open(poll_id, asked, now())
        self._changed()

    # What it is told by the process

    def drain(self) -> None:
        """Takes nothing new from now on, for good; what has not started is given back."""
        if self.draining:
            return
        self.draining = True
        _log.info("draining", action="worker.draining", running=self.slots.taken, queued=self.slots.queued)
        self._release_queued(StopReason.DRAINING)
        self._changed()

    def stop_all(self) -> None:
        """Stops what runs, and gives it back."""
        for lease in list(self.book):
            self._stop(lease, StopReason.DRAINING)

    async def watch_time(self) -> None:
        """Stops what runs out of its time; runs until it is cancelled."""
        while True:
            await self._held.wait()
            await asyncio.sleep(CHECK_INTERVAL)
            at = now()
            for lease, why in self.book.due(at):
                self._stop(lease, why)
            for reporter in self._reporters.values():
                reporter.flush(at)
            if self.polls.settle(at):
                self._changed()

    async def close(self) -> None:
        """Gives up what still runs; returns when no write is under way. What is held stays in spool and marks."""
        while self._executions:  # a run that ends by itself meanwhile makes room for one that waits
            for task in self._executions.values():
                task.cancel()
            await asyncio.gather(*self._executions.values(), return_exceptions=True)
        await self.probes.close()
        await self.journal.close()

    # How

    def _take(self, lease: Lease, assigned: pb.AssignedLease) -> None:
        self._jobs[lease.lease_id] = assigned
        if (why := self._why_not(lease)) is None:
            self.slots.queue(lease.lease_id)
        else:
            self._stop(lease, why)

    def _why_not(self, lease: Lease) -> StopReason | None:
        """Why a lease that has come can't be taken."""
        if now() >= lease.deadline:
            return StopReason.EXPIRED
        if self.draining:
            return StopReason.DRAINING
        if self._cannot_run:
            return StopReason.REFUSED
        return None if self.probes.admit(lease) else StopReason.UNHEALTHY

    def _opened(self) -> None:
        """The breaker lets nothing in any more."""
        self._release_queued(StopReason.UNHEALTHY)
        self._changed()

    def _release_queued(self, why: StopReason) -> None:
        """Gives back what no slot has taken yet."""
        for lease in list(self.book):
            if lease.lease_id in self._jobs:
                self._stop(lease, why)

    def _fill(self) -> None:
        """Starts as many of the leases that wait as there are free slots."""
        while (lease_id := self.slots.next()) is not None:
            lease = self.book.get(lease_id)
            assert lease is not None, "what waits is held"
            if (too_late := self.book.accept(lease, now())) is not None:
                self._stop(lease, too_late)
                continue
            self.outbox.add(wire.accepted(lease))
            job = wire.job_of(self._jobs.pop(lease_id))
            task = self._executions[lease_id] = asyncio.create_task(self._executor.execute(lease, job))
            task.add_done_callback(partial(self._executed, lease))
        self._changed()

    def _executed(self, lease: Lease, task: asyncio.Task[PendingUpdate]) -> None:
        """A run is over. Its task does none of this: cancelled before its first step, it never begins."""
        del self._executions[lease.lease_id]
        self._reporters.pop(lease.lease_id, None)
        try:
            self._end_run(lease, _ending(lease, task))
        except asyncio.CancelledError:
            pass  # the worker closes
        except Exception as error:  # noqa: BLE001 - whatever it is, only the worker's end is safe
            _log.critical("a run got out of hand", action="run.fault", error=repr(error), **lease.log_keys)
            self.broken.set()

    def _end_run(self, lease: Lease, ending: PendingUpdate) -> None:
        if lease.stop is StopReason.REFUSED:
            self._refuses_until = now() + REFUSAL_PAUSE
            asyncio.get_running_loop().call_later(REFUSAL_PAUSE, self._changed)
        self._end(lease, ending)
        self._fill()

    def _reporter(self, lease: Lease) -> LeaseReporter:
        answered = partial(self._answered, lease.lease_id)
        reporter = self._reporters[lease.lease_id] = LeaseReporter(lease, self.book, self._add, answered, now)
        return reporter

    def _answered(self, lease_id: str, poll: int) -> None:
        self.polls.record_answer(lease_id, poll, now())
        self._changed()

    def _revoke(self, lease_ids: Iterable[str], reason: str = "LEASE_LOST") -> None:
        for lease_id in lease_ids:
            lease = self.book.get(lease_id)
            if lease is not None and (act := self.book.revoke(lease, now())) is not StopAction.NOTHING:
                self._stop_by(act, lease, StopReason.REVOKED)
                _log.warning("a lease was revoked", action="lease.revoked", reason=reason, **lease.log_keys)

    def _stop(self, lease: Lease, why: StopReason) -> None:
        """Stops a lease, unless it is over, or being stopped."""
        self._stop_by(self.book.stop(lease, why), lease, why)

    def _stop_by(self, act: StopAction, lease: Lease, why: StopReason) -> None:
        if act is StopAction.END:
            self._jobs.pop(lease.lease_id, None)
            self._end(lease, wire.ending_of_stop(lease, why, started=False))
        elif act is StopAction.STOP_RUN:
            self._executions[lease.lease_id].cancel()

    def _end(self, lease: Lease, ending: PendingUpdate) -> None:
        self.slots.leave(lease.lease_id)
        self.probes.over(lease)
        self.book.settle(lease)
        _log.info(
            "a lease ended",
            action=f"lease.{ending.kind.name.lower()}",
            **lease.log_keys,
            **({} if lease.stop is None else {"stopped": lease.stop.name.lower()}),
        )
        self.outbox.add(ending)
        self.polls.record_end(lease.lease_id, now())
        self._changed()

    def _acknowledged(self, update: PendingUpdate, outcome: int) -> None:
        lease = self.book.forget(update.lease_id)
        self.journal.forget(update.lease_id)
        if lease is not None and outcome != pb.UPDATE_OUTCOME_COMMITTED:
            told = wire.outcome_name(outcome)
            _log.warning("an ending was not needed", action="lease.answered", outcome=told, **lease.log_keys)
        self._note_held()

    def _add(self, update: PendingUpdate) -> None:
        self.outbox.add(update)
        self._changed()

    def _note_held(self) -> None:
        for event, holds in ((self._held, len(self.book) > 0), (self._empty, not len(self.book))):
            event.set() if holds else event.clear()

    def _changed(self) -> None:
        self.on_change()


def _ending(lease: Lease, task: asyncio.Task[PendingUpdate]) -> PendingUpdate:
    """What ends a lease whose task is over. Raises what that task raised."""
    if task.cancelled() and lease.stop is not None:  # before its first step
        return wire.ending_of_stop(lease, lease.stop, started=False)
    return task.result()
