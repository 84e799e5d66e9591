"""What workers say: states renew leases, reports move and end them. The work of the report lane."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import NamedTuple

from scheduler_svc.application.leases.reporters import UNKNOWN, ReportedLease, ReportSource, foreign
from scheduler_svc.application.leases.resolve_attempts import (
    EndedLease,
    Inconsistent,
    delete_revoked,
    end_attempts,
    record,
    signal_revoked_gone,
)
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import (
    CompletedTask,
    ContentRow,
    HeartbeatAnswer,
    HeartbeatRow,
    LeaseChange,
    LiveLease,
    NamedLease,
    PollAnswer,
    PoolRow,
    RenewalResult,
    TaskRow,
)
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.domain.content import SUMMARY_LENGTH, ReviewStatus, TaskResult
from scheduler_svc.domain.errors import DomainError, SessionReplaced
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import (
    AttemptCompleted,
    AttemptDeferred,
    AttemptFailed,
    AttemptReleased,
    FoldedUpdates,
    LastEnd,
    LeaseEnd,
    LeaseRow,
    LeaseUpdate,
    Outcome,
    Verdict,
    fold_updates,
    judge,
)
from scheduler_svc.domain.lifecycle import Move, Status
from scheduler_svc.domain.resolution import Cause, reported_cause
from scheduler_svc.domain.worker import DesiredState, Heartbeat


@dataclass(frozen=True, slots=True)
class HeartbeatItem:
    """A session's state. Answered by StateAck, or SessionReplaced."""

    worker_id: str
    session_key: int
    heartbeat: Heartbeat
    accepts_skipped: bool = False


@dataclass(frozen=True, slots=True)
class ReportItem:
    """A batch of updates. Answered by an outcome for each."""

    updates: tuple[LeaseUpdate, ...]
    by: ReportSource = UNKNOWN


@dataclass(frozen=True, slots=True)
class UnsentLeases:
    """Leases that were committed but never handed to their stream (rule 7)."""

    refs: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """A session's stream is gone. Its leases live on."""

    worker_id: str
    session_key: int


@dataclass(frozen=True, slots=True)
class WorkerDraining:
    """The worker said that it drains."""

    worker_id: str
    session_key: int


@dataclass(frozen=True, slots=True)
class HeartbeatAck:
    """The state is committed: all that it named is renewed, but for `not_renewed`, which is not the worker's any more,
    and `skipped`, which somebody else holds.
    """

    not_renewed: tuple[str, ...]
    desired_state: DesiredState
    skipped: tuple[str, ...] = ()


Item = HeartbeatItem | ReportItem | UnsentLeases | StreamEnded | WorkerDraining
Answer = HeartbeatAck | tuple[Outcome, ...] | None | DomainError


def report_keys(item: Item) -> Iterable[Hashable]:
    """What of a message must not change its order: what is said of one lease, and of one session."""
    match item:
        case ReportItem():
            return {update.ref for update in item.updates}
        case UnsentLeases():
            return item.refs
        case _:
            return (item.session_key,)


def _heard(worker_id: str, session_key: int, state: Heartbeat) -> HeartbeatRow:
    return HeartbeatRow(worker_id, session_key, state.unhealthy, state.last_error)


class ReportWork:
    """The work of the report lane."""

    def __init__(self, lease_ttl: float, max_losses: int, max_deferrals: int) -> None:
        self._ttl = lease_ttl
        self._max_losses = max_losses
        self._max_deferrals = max_deferrals

    def run_group(self, tx: Tx, group: Sequence[Item]) -> list[Answer]:
        """Writes what a group of messages says; an answer for each, in order."""
        for item in group:
            if isinstance(item, StreamEnded):
                tx.workers.close(item.worker_id, item.session_key)
            elif isinstance(item, WorkerDraining):
                tx.workers.set_draining(item.worker_id, item.session_key)
        stated = [item for item in group if isinstance(item, HeartbeatItem)]
        sessions = {it.session_key: _heard(it.worker_id, it.session_key, it.heartbeat) for it in stated}
        heard = tx.workers.record_heartbeats(sorted(sessions.values())) if sessions else {}
        _answer_polls(tx, stated, heard)
        applied = self._apply(tx, group)
        acks = self._renew(tx, stated, heard, applied.ended)
        return [_answer(item, acks, applied) for item in group]

    def _renew(
        self,
        tx: Tx,
        stated: Sequence[HeartbeatItem],
        heard: Mapping[int, HeartbeatAnswer],
        ended: set[LeaseRef],
    ) -> dict[int, HeartbeatAck | DomainError]:
        """Renews what the states name; acks by the identity of the item.

        A lease that this group ended is not the worker's to stop, whatever a state of the same group says of it.
        """
        live = [item for item in stated if item.session_key in heard]
        renewed, skipped = self._renew_named(tx, live, ended)
        revoked = sorted({item.worker_id for item in live if heard[item.session_key].has_revoked})
        if revoked:
            named = sorted({LeaseRef(*one[:3]) for one in _named(live)})
            if ended_of := tx.leases.settle_revoked(revoked, named):
                signal_revoked_gone(tx, ended_of)
        return {
            id(item): _ack(item, heard[item.session_key].desired_state, renewed, skipped)
            if item.session_key in heard
            else SessionReplaced(item.worker_id)
            for item in stated
        }

    def _renew_named(self, tx: Tx, live: Sequence[HeartbeatItem], ended: set[LeaseRef]) -> RenewalResult:
        """Renews but for what `ended`; locked leases are passed over where the worker can be told so."""
        both = RenewalResult(set(ended), set())
        for skip_locked in (False, True):
            named = _named(item for item in live if item.accepts_skipped is skip_locked)
            if to_renew := sorted(one for one in named if LeaseRef(*one[:3]) not in ended):
                renewed, skipped = tx.leases.renew(to_renew, self._ttl, skip_locked=skip_locked)
                both.renewed.update(renewed)
                both.skipped.update(skipped)
        return both

    def _apply(self, tx: Tx, group: Sequence[Item]) -> _Applied:
        """Judges each lease's folded updates under its lock, and writes what they do."""
        reports = [item for item in group if isinstance(item, ReportItem)]
        refs = {update.ref for item in reports for update in item.updates if update.ref is not None}
        taken_back = {ref for item in group if isinstance(item, UnsentLeases) for ref in item.refs}
        if not refs and not taken_back:
            return _Applied({}, set(), set())
        live = tx.leases.lock(sorted({ref.task_key for ref in (*refs, *taken_back)}))
        tasks = _astray(tx, refs, live)
        strange = foreign(tx, _said_with_tokens(reports), live, tasks)
        folds = fold_updates(_heeded(reports, strange))
        ledger = Ledger(tx)
        verdicts = _judge(tx, ledger, folds, live, tasks)
        write = _Write(tx, ledger, self._max_losses, self._max_deferrals)
        for ref in taken_back:
            if (lease := live.get(ref.task_key)) and lease.ref == ref and not lease.revoked and ref not in folds:
                write.take_back(lease)
        for ref, verdict in verdicts.items():
            if verdict is Verdict.APPLY_LATE:
                write.complete_late(folds[ref], tasks[ref.task_key])
            else:
                write.apply(folds[ref], verdict, live.get(ref.task_key))
        write.finish()
        outcomes = {ref: _OUTCOMES[verdict] for ref, verdict in verdicts.items()}
        ended = {ref for ref, verdict in verdicts.items() if verdict is Verdict.APPLY and folds[ref].ending}
        return _Applied(outcomes, ended, strange)


class _Applied(NamedTuple):
    """What reports have done: outcomes, the leases that ended by them, and what was said by strangers to a lease."""

    outcomes: Mapping[LeaseRef, Outcome]
    ended: set[LeaseRef]
    strange: set[ReportedLease]


def _said_with_tokens(reports: Iterable[ReportItem]) -> set[ReportedLease]:
    """Who says something of which lease, where that has an identity: without tokens everyone may report anything."""
    return {(it.by, update.ref) for it in reports if it.by.identity for update in it.updates if update.ref is not None}


def _heeded(reports: Iterable[ReportItem], strange: set[ReportedLease]) -> Iterable[LeaseUpdate]:
    for item in reports:
        if strange:
            yield from (update for update in item.updates if (item.by, update.ref) not in strange)
        else:
            yield from item.updates


def _answer_polls(tx: Tx, stated: Sequence[HeartbeatItem], heard: Mapping[int, HeartbeatAnswer]) -> None:
    """Records which polls these states answer. What the workers saw came before, or comes in this transaction."""
    newest: dict[str, int] = {}
    for item in stated:
        wanted = heard[item.session_key].desired_state.poll if item.session_key in heard else 0
        if 0 < item.heartbeat.last_poll <= wanted:
            newest[item.worker_id] = max(item.heartbeat.last_poll, newest.get(item.worker_id, 0))
    if newest:
        tx.signals.answered += tx.polls.answer([PollAnswer(*it) for it in sorted(newest.items())])


_OUTCOMES = {
    Verdict.APPLY: Outcome.COMMITTED,
    Verdict.APPLY_LATE: Outcome.COMMITTED,
    Verdict.ALREADY: Outcome.ALREADY_COMMITTED,
    Verdict.END_REVOKED: Outcome.LEASE_LOST,
    Verdict.LOST: Outcome.LEASE_LOST,
}


def _answer(item: Item, acks: Mapping[int, HeartbeatAck | DomainError], applied: _Applied) -> Answer:
    if isinstance(item, HeartbeatItem):
        return acks[id(item)]
    if isinstance(item, ReportItem):
        return tuple(_outcome(item.by, update.ref, applied) for update in item.updates)
    return None


def _outcome(by: ReportSource, ref: LeaseRef | None, applied: _Applied) -> Outcome:
    if ref is None or (applied.strange and (by, ref) in applied.strange):
        return Outcome.LEASE_LOST
    return applied.outcomes[ref]


def _named(stated: Iterable[HeartbeatItem]) -> set[NamedLease]:
    return {NamedLease(*held.ref, item.worker_id) for item in stated for held in item.heartbeat.held if held.ref}


def _ack(item: HeartbeatItem, wanted: DesiredState, renewed: set[LeaseRef], skipped: set[LeaseRef]) -> HeartbeatAck:
    others = [held for held in item.heartbeat.held if held.ref not in renewed]
    return HeartbeatAck(
        tuple(held.lease_id for held in others if held.ref not in skipped),
        wanted,
        tuple(held.lease_id for held in others if held.ref in skipped),
    )


def _astray(tx: Tx, refs: Iterable[LeaseRef], live: Mapping[int, LiveLease]) -> dict[int, TaskRow]:
    """The tasks of those leases that are not live."""
    astray = [ref.task_key for ref in refs if (lease := live.get(ref.task_key)) is None or lease.ref != ref]
    return tx.tasks.peek(sorted(astray)) if astray else {}


def _judge(
    tx: Tx,
    ledger: Ledger,
    folds: Mapping[LeaseRef, FoldedUpdates],
    live: Mapping[int, LiveLease],
    tasks: Mapping[int, TaskRow],
) -> dict[LeaseRef, Verdict]:
    """A verdict for each lease. A late result is only taken by removing its task from where it waits."""
    verdicts = {
        ref: judge(one, _lease_row(live.get(ref.task_key)), _last_end(tasks.get(ref.task_key)))
        for ref, one in folds.items()
    }
    late = {ref.task_key: ref for ref, verdict in verdicts.items() if verdict is Verdict.APPLY_LATE}
    if late:
        owned = _own_late(tx, ledger, late)
        verdicts |= {ref: Verdict.LOST for key, ref in late.items() if key not in owned}
    return verdicts


def _own_late(tx: Tx, ledger: Ledger, late: Mapping[int, LeaseRef]) -> set[int]:
    """Takes these tasks out of where they wait; those that were granted anew meanwhile stay where they are."""
    removed = tx.waiting.remove_next([(key, late[key].attempt + 1) for key in sorted(late)])
    for row in removed.values():
        ledger.taken_out(row)
    return set(removed)


def _lease_row(lease: LiveLease | None) -> LeaseRow | None:
    if lease is None:
        return None
    return LeaseRow(lease.ref, lease.revoked)


def _last_end(task: TaskRow | None) -> LastEnd | None:
    if task is None or task.fence is None:
        return None
    return LastEnd(task.status, task.attempt, task.fence, task.lease_end)


class _Write:
    """Collects what verdicts do, and writes it in a statement a kind."""

    def __init__(self, tx: Tx, ledger: Ledger, max_losses: int, max_deferrals: int) -> None:
        self._tx = tx
        self._ledger = ledger
        self._max_losses = max_losses
        self._max_deferrals = max_deferrals
        self._changes: list[LeaseChange] = []
        self._completed: dict[LeaseRef, TaskResult] = {}
        self._completed_late: dict[LeaseRef, TaskResult] = {}
        self._ended: list[EndedLease] = []
        self._released: list[LiveLease] = []

    def take_back(self, lease: LiveLease) -> None:
        """A lease that its worker never got."""
        self._ended.append(EndedLease(lease, Cause(Move.GIVE_BACK, LeaseEnd.RELEASED, "NOT_DELIVERED")))

    def apply(self, one: FoldedUpdates, verdict: Verdict, lease: LiveLease | None) -> None:
        """What the verdict does with the fold."""
        if verdict not in (Verdict.END_REVOKED, Verdict.APPLY):
            return
        assert lease is not None
        if verdict is Verdict.END_REVOKED:
            self._released.append(lease)
        else:
            match one.ending:
                case None:
                    self._change(one, lease)
                case AttemptCompleted():
                    self._complete(one, lease)
                case AttemptFailed() | AttemptReleased() | AttemptDeferred() as ending:
                    started = one.processing or (isinstance(ending, AttemptReleased) and ending.started)
                    cause = reported_cause(ending, started or lease.status is Status.PROCESSING, self._max_deferrals)
                    self._ended.append(EndedLease(lease, cause, starts=started))

    def _change(self, one: FoldedUpdates, lease: LiveLease) -> None:
        if one.processing and lease.status is Status.SUBMITTED:
            record(self._ledger, lease, Status.SUBMITTED, Status.PROCESSING, reason="STARTED")
        progress = one.progress
        told = (progress.percent, progress.step, progress.message) if progress else (None, None, None)
        self._changes.append(LeaseChange(*one.ref, one.accepted, one.processing, *told))

    def _complete(self, one: FoldedUpdates, lease: LiveLease) -> None:
        if lease.status is Status.SUBMITTED:
            record(self._ledger, lease, Status.SUBMITTED, Status.PROCESSING, reason="STARTED")
        record(self._ledger, lease, Status.PROCESSING, Status.COMPLETED, reason="COMPLETED")
        self._completed[one.ref] = _result(one)

    def complete_late(self, one: FoldedUpdates, task: TaskRow) -> None:
        """A result that came after its lease ran out; its task does not wait any more."""
        self._ledger.move(
            task.task_key,
            task.account_id,
            Status.PENDING,
            Status.COMPLETED,
            "COMPLETED_LATE",
            ref=one.ref,
            worker_id=task.worker_id,
        )
        self._completed_late[one.ref] = _result(one)

    def finish(self) -> None:
        """Writes all of it."""
        end_attempts(self._tx, self._ledger, self._ended, self._max_losses)
        if self._changes and self._tx.leases.change(self._changes) != len(self._changes):
            raise Inconsistent("a lease that was locked did not change")
        delete_revoked(self._tx, self._released)
        self._store(self._completed, late=False)
        self._store(self._completed_late, late=True)
        self._ledger.write()

    def _store(self, results: Mapping[LeaseRef, TaskResult], *, late: bool) -> None:
        """Completes the tasks, and stores their contents and pool entries."""
        if not results:
            return
        done = self._tx.leases.complete(sorted(results), late=late)
        if len(done) != len(results):
            raise Inconsistent(f"{len(results)} leases to be completed, {len(done)} were")
        by_task = {ref.task_key: result for ref, result in results.items()}
        self._tx.contents.insert(
            [_content(task, by_task[task.task_key]) for task in done],
            [PoolRow(t.content_id, t.account_id, t.priority, t.schedule_time) for t in done if t.auto_approve],
        )
        self._tx.signals.ended += by_task


def _result(one: FoldedUpdates) -> TaskResult:
    assert isinstance(one.ending, AttemptCompleted)
    return one.ending.result


def _content(task: CompletedTask, result: TaskResult) -> ContentRow:
    review = ReviewStatus.APPROVED if task.auto_approve else ReviewStatus.PENDING_REVIEW
    return ContentRow(
        task.content_id,
        task.account_id,
        task.task_key,
        task.title,
        result.body,
        result.html_body,
        result.body[:SUMMARY_LENGTH],
        task.category,
        _json_list(result.images),
        len(result.body),
        result.quality_score,
        review.value,
    )


def _json_list(texts: Sequence[str]) -> str:
    return "[" + ",".join(map(encode_basestring, texts)) + "]"
