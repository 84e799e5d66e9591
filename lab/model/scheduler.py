"""The schedulers of the model: each request a transaction of the production application.

A replica has no state that matters but its streams. Each stream of the model is its own replica's, unless its scenario
has one replica.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from lab.model.database import session_key, transaction
from lab.model.interning import RolledBack
from lab.model.process import Hello, Report, State, Word, ref_of
from lab.model.tables import ACCOUNT, SETTINGS, TTL, Tables
from scheduler_svc.accounts.work import update_account
from scheduler_svc.dispatch.admission import settle
from scheduler_svc.dispatch.rows import Claimed
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
