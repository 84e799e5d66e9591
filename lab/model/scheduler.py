"""The schedulers of the model: each request a transaction of the production application.

A replica has no state that matters but its streams. Each stream of the model is its own replica's, unless its scenario
has one replica.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from lab.model.database import session_key, transaction
from lab.model.explore import RolledBack
from lab.model.process import (
    Assignment,
    Hello,
    Report,
    State,
    StateAcknowledged,
    ToScheduler,
    ToWorker,
    Word,
    named,
    ref_of,
)
from lab.model.properties import FAULTS
from lab.model.tables import ACCOUNT, SETTINGS, TTL, Tables
from scheduler_svc.accounts.work import update_account
from scheduler_svc.dispatch.admission import settle
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.dispatch.streams import Streams, WorkerStream
from scheduler_svc.dispatch.work import SessionCapacity, claim
from scheduler_svc.domain import lease as changes
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Capacity, LeaseEnd, LeaseUpdate, Outcome, Release
from scheduler_svc.domain.lifecycle import IllegalMove, Status
from scheduler_svc.domain.task import TaskError
from scheduler_svc.domain.worker import Heartbeat as StateRow
from scheduler_svc.domain.worker import HeldLease
from scheduler_svc.domain.worker import Hello as HelloRow
from scheduler_svc.leases.recover import promote_due, reap
from scheduler_svc.leases.report import HeartbeatAck, HeartbeatItem, ReportItem, ReportWork, UnsentLeases
from scheduler_svc.leases.rows import Inconsistent
from scheduler_svc.leases.sessions import open_session
from scheduler_svc.tasks.change import cancel_task, retry_task
from worker_svc.session.outbox import UpdateKind

T = TypeVar("T")

DEFECTS = (AssertionError, IllegalMove, Inconsistent)
"""What the production code raises where it finds itself to be wrong."""


class Stock(NamedTuple):
    """A stream's capacity, frozen: the arguments of `Capacity`."""

    heartbeat_number: int = 0
    free_slots: int = 0
    expires_at: float = 0.0
    assignments: int = 0
    unread: tuple[tuple[int, int], ...] = ()

    def thawed(self) -> Capacity:
        return Capacity(self.heartbeat_number, self.free_slots, self.expires_at, self.assignments, dict(self.unread))


def frozen(capacity: Capacity) -> Stock:
    unread = tuple(capacity.unread.items())
    return Stock(capacity.heartbeat_number, capacity.free_slots, capacity.expires_at, capacity.assignments, unread)


class Application:
    """The calls, each on tables that it changes. What the code itself finds to be wrong is noted on them."""

    def __init__(self) -> None:
        self._reports = ReportWork(SETTINGS)

    def hello(self, tables: Tables, worker_id: str, hello: Hello) -> tuple[int, tuple[str, ...]] | None:
        """Returns the session's key, and the leases to drop; None where the hello is refused."""
        held_leases = tuple(HeldLease(lease_id, ref_of(lease_id, attempt)) for lease_id, attempt in hello.held)
        identity = (worker_id, worker_id, hello.session_number)
        row = HelloRow(*identity, "", "", 1, {}, "", "", held=held_leases, lost=hello.lost)
        answer = _call(tables, lambda: open_session(transaction(tables), row, SETTINGS, "replica"))
        return None if answer is None else (session_key(worker_id, hello.session_number), answer.drop)

    def state(self, tables: Tables, worker_id: str, key: int, state: State) -> tuple[str, ...] | None:
        """Returns the leases that are not renewed; None where the session is not open any more."""
        held_leases = tuple(HeldLease(lease_id, ref_of(lease_id, attempt)) for lease_id, attempt in state.held)
        row = StateRow(state.number, state.free_slots, held_leases, state.last_assignment)
        group = [HeartbeatItem(worker_id, key, row)]
        answers = _call(tables, lambda: self._reports.run_group(transaction(tables), group))
        return answers[0].not_renewed if answers and isinstance(answers[0], HeartbeatAck) else None

    def report(self, tables: Tables, report: Report) -> tuple[tuple[str, int, int], ...]:
        """Returns an outcome for each update. A result that is refused for no reason is noted."""
        entitled = [word for word in report.words if word.kind is UpdateKind.COMPLETED and _is_entitled(tables, word)]
        group = [ReportItem(tuple(map(_update, report.words)))]
        answers = _call(tables, lambda: self._reports.run_group(transaction(tables), group))
        outcomes = (
            answers[0] if answers and isinstance(answers[0], tuple) else (Outcome.LEASE_LOST,) * len(report.words)
        )
        for word, outcome in zip(report.words, outcomes, strict=True):
            if word in entitled and outcome is Outcome.LEASE_LOST:
                tables.tasks[ref_of(*word[:2]).task_key].refused = True
        return tuple((w.lease_id, w.attempt, o.value) for w, o in zip(report.words, outcomes, strict=True))

    def claim(self, tables: Tables, capacity: SessionCapacity) -> Claimed | None:
        answer = _call(tables, lambda: claim(transaction(tables), [capacity], capacity.free, TTL))
        if answer is not None and answer.grants:
            tables.note_claim()
        return answer

    def take_back(self, tables: Tables, refs: tuple[LeaseRef, ...]) -> None:
        _call(tables, lambda: self._reports.run_group(transaction(tables), [UnsentLeases(refs)]))

    def reap(self, tables: Tables, timed_out: int | None = None) -> None:
        _call(tables, lambda: reap(transaction(tables, timed_out), SETTINGS, tables.watch, _standing))

    def promote(self, tables: Tables) -> None:
        _call(tables, lambda: promote_due(transaction(tables)))

    def admit(self, tables: Tables) -> None:
        _call(tables, lambda: settle(transaction(tables), ACCOUNT))

    def limit(self, tables: Tables, tasks: int) -> None:
        change = AccountChange(max_concurrent_tasks=tasks)
        _call(tables, lambda: update_account(transaction(tables), ACCOUNT, change))

    def cancel(self, tables: Tables, task: int) -> None:
        _call(tables, lambda: cancel_task(transaction(tables), task, force=True))

    def retry(self, tables: Tables, task: int) -> None:
        _call(tables, lambda: retry_task(transaction(tables), task, reset_retry_count=False))


def _call(tables: Tables, call: Callable[[], T]) -> T | None:
    """Runs a transaction. One that is refused is rolled back; a defect stays on the tables for the checker to find."""
    try:
        return call()
    except DomainError as error:
        raise RolledBack from error
    except DEFECTS as defect:
        tables.broken = defect_text(defect)
        return None


def defect_text(defect: Exception) -> str:
    """Returns a defect that the code found, as the properties tell it."""
    return f"{type(defect).__name__}: {defect}"


def _standing() -> float:
    """The model's clocks stand at 0: times are moved instead."""
    return 0.0


def _is_entitled(tables: Tables, word: Word) -> bool:
    """Returns whether this lease's result has to be taken: it is the newest, and at most its own time has ended it."""
    ref = ref_of(word.lease_id, word.attempt)
    task, lease = tables.tasks[ref.task_key], tables.leases.get(ref.task_key)
    if task.status is not Status.PENDING or task.granted != ref.attempt:
        return False
    return not lease.revoked if lease is not None else task.lease_end is not LeaseEnd.REVOKED


_CHANGES: Mapping[UpdateKind, changes.Change] = {
    UpdateKind.ACCEPTED: changes.AttemptAccepted(),
    UpdateKind.PROCESSING: changes.AttemptStarted(),
    UpdateKind.COMPLETED: changes.AttemptCompleted(TaskResult("a body")),
    UpdateKind.FAILED: changes.AttemptFailed(TaskError("CREATOR_ERROR")),
    UpdateKind.DEFERRED: changes.AttemptDeferred(1.0),
}


def _update(word: Word) -> LeaseUpdate:
    change = _CHANGES.get(word.kind) or changes.AttemptReleased(Release.EXPIRED, word.started)
    return LeaseUpdate(word.lease_id, word.attempt, ref_of(word.lease_id, word.attempt), change)


# A stream: what is on its way, what the scheduler's end of it knows; and the state of a whole model.


class End(NamedTuple):
    """The scheduler's end of a stream. `claimed`: leases that are committed and not sent, and the state they answer."""

    session_key: int
    stock: Stock = Stock()
    claimed: tuple[int, tuple[LeaseRef, ...]] | None = None


class Link(NamedTuple):
    """A stream: what is on its way up and down. Without an end its hello has not been taken yet."""

    up: tuple[ToScheduler, ...] = ()
    down: tuple[ToWorker, ...] = ()
    end: End | None = None


def stated(link: Link, end: End, state: State, not_renewed: tuple[str, ...]) -> Link:
    """A state is committed: it is acknowledged, and its capacity counts."""
    capacity = end.stock.thawed()
    capacity.heartbeat(state.number, state.free_slots, state.last_assignment, 1.5)  # intervals it counts for (rule 6)
    acknowledged = StateAcknowledged(state.number, not_renewed)
    return link._replace(down=(*link.down, acknowledged), end=end._replace(stock=frozen(capacity)))


def capacities(worker_id: str, *streams: Link | None) -> list[SessionCapacity]:
    """Returns what a replica with these streams of a worker, the older first, would claim; nothing while it claims."""
    ends = [link.end for link in streams if link is not None and link.end is not None]
    if any(end.claimed is not None for end in ends):
        return []
    registry = Streams()
    for end in ends:
        stream = WorkerStream(worker_id, end.session_key)
        stream.capacity = end.stock.thawed()
        registry.add(stream)
    return registry.capacities(0.0, 100)


def claimed(link: Link, claim: Claimed | None, session_key: int) -> Link:
    """A claim is committed: what it granted to its session is to be handed over. A replaced one offers nothing."""
    end = link.end
    if end is None:
        return link
    if claim is None or end.session_key in claim.closed:
        return link._replace(end=end._replace(stock=end.stock._replace(free_slots=0)))
    if not claim.grants or end.session_key != session_key:
        return link
    refs = tuple(grant.ref for grant in claim.grants)
    return link._replace(end=end._replace(claimed=(end.stock.heartbeat_number, refs)))


def handed_over(link: Link) -> Link:
    """What was claimed is sent, as one assignment."""
    end = link.end
    assert end is not None, "only an open stream is written to"
    assert end.claimed is not None, "only what is claimed is handed over"
    heartbeat_number, refs = end.claimed
    capacity = end.stock.thawed()
    assignment = Assignment(capacity.assigned(len(refs)), heartbeat_number, tuple(map(named, refs)))
    return link._replace(down=(*link.down, assignment), end=End(end.session_key, frozen(capacity)))


def aged(link: Link | None) -> Link | None:
    if link is None or link.end is None:
        return link
    stock = link.end.stock
    return link._replace(end=link.end._replace(stock=stock._replace(expires_at=max(stock.expires_at - 1.0, 0.0))))


def renumbered(link: Link, states: int, assignments: int) -> Link:
    """Returns all numbers of a stream lowered: only their differences matter."""
    assert link.end is not None, "only an open stream is renumbered"
    stock = link.end.stock
    fewer = stock._replace(
        heartbeat_number=stock.heartbeat_number - states,
        assignments=stock.assignments - assignments,
        unread=tuple((number - assignments, leases) for number, leases in stock.unread),
    )
    return link._replace(end=link.end._replace(stock=fewer))


A = TypeVar("A")


class Whole(NamedTuple):
    """A state: numbers of its parts. `budget` is what may still go wrong."""

    tables: int
    budget: tuple[int, ...]
    processes: tuple[int, ...]
    links: tuple[Link | None, ...]
    former: tuple[Link | None, ...]
    rival: tuple[LeaseRef, ...] = ()
    """What the other worker runs, where there is one whose messages take no time."""


def replaced_in(row: tuple[A, ...], place: int, value: A) -> tuple[A, ...]:
    return (*row[:place], value, *row[place + 1 :])


def linked(state: Whole, who: int, link: Link | None) -> Whole:
    return state._replace(links=replaced_in(state.links, who, link))


def formerly(state: Whole, who: int, link: Link | None) -> Whole:
    return state._replace(former=replaced_in(state.former, who, link))


def spend(state: Whole, fault: str) -> Whole | None:
    """Returns the state with one of these faults less; None where none is left."""
    place = FAULTS.index(fault)
    remaining = state.budget[place]
    return state._replace(budget=replaced_in(state.budget, place, remaining - 1)) if remaining else None
