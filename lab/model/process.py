"""A worker of the model, and what it and a scheduler say to each other.

It has the production code's book, outbox, slots, circuit breaker and heartbeat log, and its disk.
`worker_svc.session.worker` carries these parts' decisions out on an event loop; here the same calls are made one by
one, so that anything may come between them. Its clock stands at 0, and times are moved instead. The messages are those
of the contract as plain tuples, without what no decision depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from contentgen.v1 import worker_service_pb2 as pb
from lab.model.tables import TTL
from scheduler_svc.domain.ids import LeaseRef, format_lease_id, parse_lease_id
from worker_svc.outcome import Article, Deferred, Failed, Outcome, Reason
from worker_svc.session import deadlines
from worker_svc.session.deadlines import HeartbeatLog
from worker_svc.session.health import CircuitBreaker, CircuitState
from worker_svc.session.leases import Lease, LeaseBook, Stage, StopAction, StopReason
from worker_svc.session.outbox import Outbox, PendingUpdate, UpdateKind
from worker_svc.session.slots import Slots


class Word(NamedTuple):
    """One update: of which lease, and what it says. `started`, of a release, is whether a CLI had run."""

    lease_id: str
    attempt: int
    kind: UpdateKind
    started: bool = False


class Hello(NamedTuple):
    session_number: int
    held: tuple[tuple[str, int], ...]
    lost: tuple[str, ...]


class State(NamedTuple):
    number: int
    free_slots: int
    held: tuple[tuple[str, int], ...]
    last_assignment: int


class Report(NamedTuple):
    number: int
    words: tuple[Word, ...]


class Welcome(NamedTuple):
    drop: tuple[str, ...]


class StateAcknowledged(NamedTuple):
    number: int
    not_renewed: tuple[str, ...]


class ReportAcknowledged(NamedTuple):
    number: int
    outcomes: tuple[tuple[str, int, int], ...]


class Assignment(NamedTuple):
    number: int
    heartbeat_number: int
    leases: tuple[tuple[str, int], ...]


ToScheduler = Hello | State | Report
ToWorker = Welcome | StateAcknowledged | ReportAcknowledged | Assignment


def named(ref: LeaseRef) -> tuple[str, int]:
    return format_lease_id(ref.task_key, ref.fence), ref.attempt


def ref_of(lease_id: str, attempt: int) -> LeaseRef:
    ref = parse_lease_id(lease_id, attempt)
    assert ref is not None, "the model's ids are all of its making"
    return ref


ENDS: Mapping[str, Outcome] = {
    "finish": Article("an article"),
    "fail": Failed(Reason.CREATOR_ERROR, "the model said no"),
    "ill": Failed(Reason.CREATOR_CLI_NOT_FOUND, "there is no CLI any more"),
    "defer": Deferred(1.0),
}
"""How a run may end by itself, by the names of the steps."""


@dataclass(slots=True)
class Stream:
    """What the worker knows of its present stream; `welcomed` once the session is open."""

    log: HeartbeatLog
    welcomed: bool = False
    heartbeat_number: int = 0
    stated_for: float = inf
    known_free: int = 0
    last_assignment: int = 0
    report_number: int = 0


@dataclass(slots=True)
class Process:
    """One worker. What follows `book` is gone when it is killed, what precedes it is on disk."""

    size: int
    session_number: int = 0
    spool: dict[str, Word] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    alive: bool = True
    suspended: bool = False
    reachable: bool = True
    book: LeaseBook = field(default_factory=LeaseBook)
    outbox: Outbox = field(default_factory=Outbox)
    slots: Slots = field(init=False)
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    running: set[str] = field(default_factory=set)
    left: frozenset[str] = frozenset()
    """Marks of a former process that are not told yet."""
    stream: Stream | None = None

    def __post_init__(self) -> None:
        self.slots = Slots(self.size, 0)

    # What it does by itself

    def connect(self) -> Hello:
        self.session_number += 1
        self.stream = Stream(HeartbeatLog(TTL))
        return Hello(self.session_number, self._held(), tuple(sorted(self.left)))

    def state(self) -> State:
        stream = self._open_stream()
        stream.heartbeat_number += 1
        stream.stated_for, stream.known_free = 0.0, self.slots.free(self.breaker.capacity)
        stream.log.sent(stream.heartbeat_number, tuple(lease.lease_id for lease in self.book), 0.0)
        return State(stream.heartbeat_number, stream.known_free, self._held(), stream.last_assignment)

    def report(self) -> Report:
        stream = self._open_stream()
        stream.report_number += 1
        return Report(stream.report_number, tuple(u.message for u in self.outbox.take(stream.report_number)))

    def finish(self, lease_id: str, how: str) -> None:
        """A CLI ends by itself, as `ENDS` has it; the ending is on disk before anything else happens."""
        lease = self._lease(lease_id)
        kinds = {Article: UpdateKind.COMPLETED, Failed: UpdateKind.FAILED, Deferred: UpdateKind.DEFERRED}
        kind = kinds[type(ENDS[how])]
        self.breaker.record_run(lease, ENDS[how], lasted=0.0)
        self.breaker.pause = 0.0  # how long it is, does not matter here
        self.book.settle(lease)
        self.spool[lease_id] = Word(lease_id, lease.attempt, kind)
        self._over(lease, self.spool[lease_id])

    def guard(self) -> None:
        """The guard stops what runs past its deadline, and the worker releases its lease."""
        for lease in self._past_deadline():
            self._stop(lease, StopReason.EXPIRED)

    # What happens to it

    def cut(self) -> None:
        self.stream = None

    def part(self) -> None:
        self.stream, self.reachable = None, False

    def heal(self) -> None:
        self.reachable = True

    def kill(self) -> None:
        """It dies, and its CLIs with it; what is on disk stays."""
        fresh = Process(self.size)
        self.book, self.outbox, self.slots, self.breaker = fresh.book, fresh.outbox, fresh.slots, fresh.breaker
        self.running, self.left, self.stream, self.alive = set(), frozenset(), None, False

    def restart(self) -> None:
        self.alive = True
        for word in self.spool.values():
            self.book.restore(word.lease_id, word.attempt)
            self.outbox.add(_update(word))
        self.marks -= self.spool.keys()
        self.left = frozenset(self.marks)

    def try_again(self) -> None:
        self.breaker.half_open()

    def suspend(self) -> None:
        """Its machine sleeps: nothing of it runs, its clock goes on."""
        self.suspended = True

    def resume(self) -> None:
        """Its machine wakes; the guard's timers fire before anything else gets far."""
        self.suspended = False
        self.guard()

    def pass_time(self, units: float) -> None:
        for lease in self.book:
            lease.deadline = max(lease.deadline - units, 0.0)
            lease.received_at = lease.accepted_at = 0.0
        if self.stream is not None:
            self.stream.stated_for = min(self.stream.stated_for + units, 1.0)
            _age(self.stream.log, units)

    def renumber(self) -> tuple[int, int]:
        """Lets a quiet stream's numbers begin anew; returns by how much states and assignments went down."""
        stream = self._open_stream()
        states, assignments = stream.heartbeat_number - 1, stream.last_assignment
        stream.heartbeat_number, stream.last_assignment, stream.report_number = 1, 0, 0
        log = stream.log
        log._heartbeats = {number - states: entry for number, entry in log._heartbeats.items()}
        log._newest, log._newest_acknowledged = log._newest - states, log._newest_acknowledged - states
        return states, assignments

    # What it hears

    def hear(self, message: ToWorker) -> None:
        match message:
            case Welcome():
                self._open_stream().welcomed = True
                self.marks -= self.left
                self.left = frozenset()
                self.outbox.rewind()
                self._revoke(message.drop)
            case Assignment():
                self._assigned(message)
            case StateAcknowledged():
                renewal = self._open_stream().log.acknowledged(message.number, message.not_renewed)
                if renewal is not None:
                    self.book.renew(renewal.renewed, renewal.deadline)
                self._revoke(message.not_renewed)
            case ReportAcknowledged():
                self._reported(message)

    def _assigned(self, message: Assignment) -> None:
        stream = self._open_stream()
        stream.last_assignment = message.number
        stream.known_free = max(0, stream.known_free - len(message.leases))
        deadline = stream.log.grant_deadline(message.heartbeat_number)
        for lease_id, attempt in message.leases:
            lease = Lease(lease_id, attempt, lease_id, inf, 0.0, 0.0 if deadline is None else deadline)
            if self.book.assign(lease):
                self._take(lease)
        self._fill()

    def _take(self, lease: Lease) -> None:
        if lease.deadline <= 0.0:
            self._stop(lease, StopReason.EXPIRED)
        elif not self.breaker.admit(lease):
            self._stop(lease, StopReason.UNHEALTHY)
        else:
            self.slots.queue(lease.lease_id)

    def _fill(self) -> None:
        while (lease_id := self.slots.next()) is not None:
            lease = self._lease(lease_id)
            if (too_late := self.book.accept(lease, 0.0)) is not None:
                self._stop(lease, too_late)
                continue
            self.marks.add(lease_id)
            self.running.add(lease_id)
            self.book.processing(lease)
            for kind in (UpdateKind.ACCEPTED, UpdateKind.PROCESSING):
                self.outbox.add(_update(Word(lease_id, lease.attempt, kind)))

    def _reported(self, message: ReportAcknowledged) -> None:
        answers = [
            pb.UpdateResult(lease_id=lease_id, attempt=attempt, outcome=pb.UpdateOutcome.ValueType(outcome))
            for lease_id, attempt, outcome in message.outcomes
        ]
        for update, outcome in self.outbox.acknowledged(message.number, answers):
            if update.kind.ends:
                self.book.forget(update.lease_id)
                self.spool.pop(update.lease_id, None)
            elif outcome == pb.UPDATE_OUTCOME_LEASE_LOST:
                self._revoke([update.lease_id])

    def _revoke(self, lease_ids: Iterable[str]) -> None:
        for lease_id in lease_ids:
            if (lease := self.book.get(lease_id)) is not None:
                self._stop_by(self.book.revoke(lease, 0.0), lease)

    def _stop(self, lease: Lease, reason: StopReason) -> None:
        self._stop_by(self.book.stop(lease, reason), lease)

    def _stop_by(self, act: StopAction, lease: Lease) -> None:
        if act is not StopAction.NOTHING:
            self._over(lease, Word(lease.lease_id, lease.attempt, UpdateKind.RELEASED, act is StopAction.STOP_RUN))
            self._fill()

    def _over(self, lease: Lease, word: Word) -> None:
        """Nothing of its run lives any more."""
        self.running.discard(lease.lease_id)
        self.marks.discard(lease.lease_id)
        self.slots.leave(lease.lease_id)
        self.breaker.record_lease_end(lease.lease_id)
        self.book.settle(lease)
        self.outbox.add(_update(word))

    # What others ask of it

    @property
    def open(self) -> bool:
        return self.awake and self.stream is not None and self.stream.welcomed

    @property
    def awake(self) -> bool:
        return self.alive and not self.suspended

    @property
    def dials(self) -> bool:
        return self.awake and self.reachable and self.stream is None

    @property
    def has_state_to_send(self) -> bool:
        """Whether a state would say something new, or is due; one under way at a time."""
        stream = self.stream
        if not self.open or stream is None or stream.log.awaits_ack:
            return False
        return stream.stated_for >= 1.0 or self.slots.warrants_heartbeat(stream.known_free, self.breaker.capacity)

    @property
    def pauses(self) -> bool:
        return self.awake and self.breaker.state is CircuitState.OPEN

    @property
    def has_report_to_send(self) -> bool:
        """Whether the outbox waits; one report under way at a time."""
        return self.open and bool(self.outbox) and not self.outbox.reports_in_flight

    @property
    def overdue(self) -> bool:
        """Whether a CLI runs past its deadline: no time passes before its guard has acted."""
        return self.awake and bool(self._past_deadline())

    @property
    def overfull(self) -> bool:
        return sum(lease.stage is not Stage.FINISHED for lease in self.book) > self.size

    def _past_deadline(self) -> list[Lease]:
        return [lease for lease in self.book if lease.lease_id in self.running and lease.deadline <= 0.0]

    def _held(self) -> tuple[tuple[str, int], ...]:
        return tuple((lease.lease_id, lease.attempt) for lease in self.book)

    def _lease(self, lease_id: str) -> Lease:
        lease = self.book.get(lease_id)
        assert lease is not None, "what runs is held"
        return lease

    def _open_stream(self) -> Stream:
        assert self.stream is not None, "only an open stream is spoken to"
        return self.stream


def _update(word: Word) -> PendingUpdate:
    return PendingUpdate(word.lease_id, word.attempt, word.kind, 1, word)


def _age(log: HeartbeatLog, units: float) -> None:
    """Moves the states of a log into the past; those that give no time any more look alike: they are gone."""
    aged = {number: type(entry)(entry.at - units, entry.named) for number, entry in log._heartbeats.items()}
    log._heartbeats = {number: entry for number, entry in aged.items() if deadlines.deadline(entry.at, TTL) > 0.0}
