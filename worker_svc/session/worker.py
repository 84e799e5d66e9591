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
from worker_svc.config import MAX_SLOTS
from worker_svc.guard import now
from worker_svc.session import wire
from worker_svc.session.deadlines import Renewal, grace
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.lease_executor import LeaseExecutor, Runs
from worker_svc.session.leases import Act, Lease, LeaseBook, Stop
from worker_svc.session.outbox import Answer, Outbox, Update
from worker_svc.session.polls import Polls
from worker_svc.session.probes import Probes
from worker_svc.session.reporter import LeaseReporter
from worker_svc.slots import Slots

TICK = 0.2
"""Seconds between two looks at what has run out of time, while anything is held."""
REFUSAL_PAUSE = 5.0
"""Seconds without free slots after a lease was refused."""
MAX_UNACKNOWLEDGED = 4_000
"""Leases held, ended ones included, from which on the worker asks for none."""

_log: FilteringBoundLogger = structlog.get_logger()


class Worker:
    """Everything that a worker holds. `on_change` is called whenever there may be something to say."""

    def __init__(self, slots: Slots, runs: Runs, keeper: Callable[[Callable[[], None]], DurableJournal]) -> None:
        self.book = LeaseBook()
        self.slots = slots
        self.outbox = Outbox()
        self.polls = Polls()
        self.probes = Probes(runs.version, self._opened, self._changed)
        self.on_change: Callable[[], None] = lambda: None
        self.stopping = False
        """Whether it takes nothing new until its process ends."""
        self._drain_wanted = False
        self.quiesced = asyncio.Event()
        """Set once the scheduler can send no lease any more, as far as this stream knows."""
        self.keeper = keeper(self._changed)
        self._runs = runs
        self._carrier = LeaseExecutor(self.book, runs, self.keeper, self._reporter, self.probes.ran)
        self._jobs: dict[str, pb.AssignedLease] = {}
        self._carrying: dict[str, asyncio.Task[Update]] = {}
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
        for update in self.keeper.recover():
            lease = self.book.restore(update.lease_id, update.attempt)
            self.outbox.add(update)
            _log.info("a result from the spool", action="spool.recovered", **lease.log_keys)
        self._note_held()

    def free_slots(self) -> int:
        """What a state says: leases that it would take now."""
        return 0 if self.closed else self.slots.free(self.probes.capacity)

    def worth_stating(self, known: int) -> bool:
        """Whether a state should go out at once, when the scheduler can know of `known` free places at most."""
        return self.slots.worth_stating(known, self.probes.capacity)

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new: it is being stopped, or the scheduler wants it to drain."""
        return self.stopping or self._drain_wanted

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
        return not self.keeper.healthy or now() < self._refuses_until

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held: all is ended, and acknowledged."""
        return self._empty.is_set()

    @property
    def rests(self) -> bool:
        """Whether nothing runs or waits for a slot, and each result that is not acknowledged is in the spool."""
        return not self._carrying and not self._jobs and self.keeper.all_kept

    async def emptied(self) -> None:
        """Returns once nothing is held."""
        await self._empty.wait()

    @property
    def last_error(self) -> str:
        """Why the CLI counts as broken, or which result does not get through; empty where neither is so."""
        if self.probes.last_error or not (stuck := self.outbox.stuck):
            return self.probes.last_error
        ends = self.outbox.ends_under(stuck[0])
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
                streams=self.outbox.ends_under(update),
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

    def reported(self, report_number: int, answers: Iterable[Answer]) -> None:
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

    def want_drain(self, wanted: bool) -> None:
        """The scheduler wants it to take nothing new, or no longer does."""
        if wanted == self._drain_wanted:
            return
        self._drain_wanted = wanted
        if not wanted:
            _log.info("takes leases again", action="worker.undrained", draining=self.draining)
            self._changed()
        elif not self.stopping:
            self._give_back_undone()

    def resize(self, slots: int) -> None:
        """A number of slots is wanted; one that no worker may have is not believed, for hellos name it."""
        if 1 <= slots <= MAX_SLOTS and slots != self.slots.size:
            _log.info("slots are resized", action="worker.resized", slots=slots)
            self.slots.resize(slots)
            self._fill()

    def poll_now(self, poll_id: str) -> None:
        """Someone wants to know now: no creator waits for its next question to the CLI."""
        if self.polls.knows(poll_id):
            return
        number = self.polls.next_number
        asked = [lease_id for lease_id, reporter in self._reporters.items() if reporter.ask_now(number)]
        self.polls.open(poll_id, asked, now())
        self._changed()

    # What it is told by the process

    def drain(self) -> None:
        """Takes nothing new from now on, for good; what has not started is given back."""
        if not self.stopping:
            self.stopping = True
            self._give_back_undone()

    def _give_back_undone(self) -> None:
        _log.info("draining", action="worker.draining", running=self.slots.taken, queued=self.slots.queued)
        self._give_back_waiting(Stop.DRAINING)
        self._changed()

    def stop_all(self) -> None:
        """Stops what runs, and gives it back."""
        for lease in list(self.book):
            self._stop(lease, Stop.DRAINING)

    async def watch_time(self) -> None:
        """Stops what runs out of its time; runs until it is cancelled."""
        while True:
            await self._held.wait()
            await asyncio.sleep(TICK)
            at = now()
            for lease, why in self.book.due(at):
                self._stop(lease, why)
            for reporter in self._reporters.values():
                reporter.flush(at)
            if self.polls.settle(at):
                self._changed()

    async def close(self) -> None:
        """Gives up what still runs; returns when no write is under way. What is held stays in spool and marks."""
        while self._carrying:  # a run that ends by itself meanwhile makes room for one that waits
            for task in self._carrying.values():
                task.cancel()
            await asyncio.gather(*self._carrying.values(), return_exceptions=True)
        await self.probes.close()
        await self.keeper.close()

    # How

    def _take(self, lease: Lease, assigned: pb.AssignedLease) -> None:
        self._jobs[lease.lease_id] = assigned
        if (why := self._why_not(lease)) is None:
            self.slots.queue(lease.lease_id)
        else:
            self._stop(lease, why)

    def _why_not(self, lease: Lease) -> Stop | None:
        """Why a lease that has come can't be taken."""
        if now() >= lease.deadline:
            return Stop.EXPIRED
        if self.draining:
            return Stop.DRAINING
        if self._cannot_run:
            return Stop.REFUSED
        return None if self.probes.admit(lease) else Stop.UNHEALTHY

    def _opened(self) -> None:
        """The breaker lets nothing in any more."""
        self._give_back_waiting(Stop.UNHEALTHY)
        self._changed()

    def _give_back_waiting(self, why: Stop) -> None:
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
            task = self._carrying[lease_id] = asyncio.create_task(self._carrier.carry(lease, job))
            task.add_done_callback(partial(self._carried, lease))
        self._changed()

    def _carried(self, lease: Lease, task: asyncio.Task[Update]) -> None:
        """A run is over. Its task does none of this: cancelled before its first step, it never begins."""
        del self._carrying[lease.lease_id]
        self._reporters.pop(lease.lease_id, None)
        try:
            self._end_run(lease, _ending(lease, task))
        except asyncio.CancelledError:
            pass  # the worker closes
        except Exception as error:  # noqa: BLE001 - whatever it is, only the worker's end is safe
            _log.critical("a run got out of hand", action="run.fault", error=repr(error), **lease.log_keys)
            self.broken.set()

    def _end_run(self, lease: Lease, ending: Update) -> None:
        if lease.stop is Stop.REFUSED:
            self._refuses_until = now() + REFUSAL_PAUSE
            asyncio.get_running_loop().call_later(REFUSAL_PAUSE, self._changed)
        self._end(lease, ending)
        self._fill()

    def _reporter(self, lease: Lease) -> LeaseReporter:
        answered = partial(self._answered, lease.lease_id)
        reporter = self._reporters[lease.lease_id] = LeaseReporter(lease, self.book, self._add, answered, now)
        return reporter

    def _answered(self, lease_id: str, poll: int) -> None:
        self.polls.told(lease_id, poll, now())
        self._changed()

    def _revoke(self, lease_ids: Iterable[str], reason: str = "LEASE_LOST") -> None:
        for lease_id in lease_ids:
            lease = self.book.get(lease_id)
            if lease is not None and (act := self.book.revoke(lease, now())) is not Act.NOTHING:
                self._stop_by(act, lease, Stop.REVOKED)
                _log.warning("a lease was revoked", action="lease.revoked", reason=reason, **lease.log_keys)

    def _stop(self, lease: Lease, why: Stop) -> None:
        """Stops a lease, unless it is over, or being stopped."""
        self._stop_by(self.book.stop(lease, why), lease, why)

    def _stop_by(self, act: Act, lease: Lease, why: Stop) -> None:
        if act is Act.END:
            self._jobs.pop(lease.lease_id, None)
            self._end(lease, wire.ending_of_stop(lease, why, started=False))
        elif act is Act.STOP_RUN:
            self._carrying[lease.lease_id].cancel()

    def _end(self, lease: Lease, ending: Update) -> None:
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
        self.polls.over(lease.lease_id, now())
        self._changed()

    def _acknowledged(self, update: Update, outcome: int) -> None:
        lease = self.book.forget(update.lease_id)
        self.keeper.forget(update.lease_id)
        if lease is not None and outcome != pb.UPDATE_OUTCOME_COMMITTED:
            told = wire.outcome_name(outcome)
            _log.warning("an ending was not needed", action="lease.answered", outcome=told, **lease.log_keys)
        self._note_held()

    def _add(self, update: Update) -> None:
        self.outbox.add(update)
        self._changed()

    def _note_held(self) -> None:
        for event, holds in ((self._held, len(self.book) > 0), (self._empty, not len(self.book))):
            event.set() if holds else event.clear()

    def _changed(self) -> None:
        self.on_change()


def _ending(lease: Lease, task: asyncio.Task[Update]) -> Update:
    """What ends a lease whose task is over. Raises what that task raised."""
    if task.cancelled() and lease.stop is not None:  # before its first step
        return wire.ending_of_stop(lease, lease.stop, started=False)
    return task.result()
