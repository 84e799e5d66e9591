"""Messages of workers: heartbeats renew leases, reports move and end them.

Most reports end a live lease with a result. One fenced statement completes those tasks, and locks nothing before. The
others Python judges under the locks of their leases' rows, and fenced statements write what it decided: rules in SQL
could not be tested by themselves. If a write meets fewer rows than were locked, the transaction is aborted
(`Inconsistent`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scheduler_svc.assets.work import name_assets
from scheduler_svc.domain.content import CompletedTask, ContentRow, ReviewStatus, TaskResult, summary_of
from scheduler_svc.domain.errors import DomainError, SessionReplaced
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import (
    AttemptCompleted,
    AttemptDeferred,
    AttemptFailed,
    AttemptReleased,
    FoldedUpdates,
    LeaseEnd,
    LeaseUpdate,
    Outcome,
    Verdict,
    fold_updates,
)
from scheduler_svc.domain.lifecycle import Move, Status
from scheduler_svc.domain.resolution import STARTED, Cause, reported_cause
from scheduler_svc.domain.worker import DesiredState, Heartbeat
from scheduler_svc.history.work import Ledger
from scheduler_svc.leases.attempts import (
    UNKNOWN,
    EndedLease,
    ReportedLease,
    ReportSource,
    delete_revoked,
    end_attempts,
    find_foreign,
    record,
    signal_revoked_gone,
    verdict_on,
)
from scheduler_svc.leases.rows import (
    AttemptLogRow,
    HeartbeatAnswer,
    HeartbeatRow,
    Inconsistent,
    LeaseChange,
    LiveLease,
    NamedLease,
    RenewalResult,
    ReportedResult,
    TaskRow,
)
from scheduler_svc.webhooks.work import store_new_contents

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.runtime.group_committer import GroupCommitter
    from scheduler_svc.transactions import Tx


@dataclass(frozen=True, slots=True)
class HeartbeatItem:
    """A session's heartbeat. The answer is a HeartbeatAck, or SessionReplaced."""

    worker_id: str
    session_key: int
    heartbeat: Heartbeat
    accepts_skipped: bool = False


@dataclass(frozen=True, slots=True)
class ReportItem:
    updates: tuple[LeaseUpdate, ...]
    by: ReportSource = UNKNOWN


@dataclass(frozen=True, slots=True)
class UnsentLeases:
    """Leases that were committed but not sent (rule 7)."""

    refs: tuple[LeaseRef, ...]


@dataclass(frozen=True, slots=True)
class StreamEnded:
    worker_id: str
    session_key: int


@dataclass(frozen=True, slots=True)
class WorkerDraining:
    worker_id: str
    session_key: int


@dataclass(frozen=True, slots=True)
class HeartbeatAck:
    """The heartbeat is committed: the leases that it named are renewed.

    Except for `not_renewed`, which are not the worker's any more, and `skipped`, which another session has locked.
    """

    not_renewed: tuple[str, ...]
    desired_state: DesiredState
    skipped: tuple[str, ...] = ()


Item = HeartbeatItem | ReportItem | UnsentLeases | StreamEnded | WorkerDraining
Answer = HeartbeatAck | tuple[Outcome, ...] | None | DomainError

ReportCommitter: TypeAlias = "GroupCommitter[Item, Answer]"
"""A group committer of messages of workers."""


def report_keys(item: Item) -> Iterable[Hashable]:
    """Returns what must stay in order: messages about one lease, and of one session."""
    match item:
        case ReportItem():
            return {update.ref for update in item.updates}
        case UnsentLeases():
            return item.refs
        case _:
            return (item.session_key,)


class ReportWork:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run_group(self, tx: Tx, group: Sequence[Item]) -> list[Answer]:
        """Stores a group of messages; returns an answer for each, in order."""
        for item in group:
            if isinstance(item, StreamEnded):
                tx.workers.close(item.worker_id, item.session_key)
            elif isinstance(item, WorkerDraining):
                tx.workers.set_draining(item.worker_id, item.session_key)
        heartbeats = [item for item in group if isinstance(item, HeartbeatItem)]
        sessions = {
            item.session_key: HeartbeatRow(
                item.worker_id, item.session_key, item.heartbeat.unhealthy, item.heartbeat.last_error
            )
            for item in heartbeats
        }
        answers = tx.workers.record_heartbeats(sorted(sessions.values())) if sessions else {}
        _answer_polls(tx, heartbeats, answers)
        applied = self._apply(tx, group)
        acks = self._renew(tx, heartbeats, answers, applied.ended)
        return [_answer(item, acks, applied) for item in group]

    def _renew(
        self, tx: Tx, heartbeats: Sequence[HeartbeatItem], answers: Mapping[int, HeartbeatAnswer], ended: set[LeaseRef]
    ) -> dict[int, HeartbeatAck | DomainError]:
        """Renews the leases that heartbeats name; returns acknowledgements by the item's identity.

        A lease that this group ends still counts as renewed: the worker must not stop it.
        """
        live = [item for item in heartbeats if item.session_key in answers]
        renewed, skipped = self._renew_named(tx, live, ended)
        revoked = sorted({item.worker_id for item in live if answers[item.session_key].has_revoked})
        if revoked:
            leases = sorted({LeaseRef(*lease[:3]) for lease in _named(live)})
            if ended_of := tx.leases.settle_revoked(revoked, leases):
                signal_revoked_gone(tx, ended_of)
        return {
            id(item): _ack(item, answers[item.session_key].desired_state, renewed, skipped)
            if item.session_key in answers
            else SessionReplaced(item.worker_id)
            for item in heartbeats
        }

    def _renew_named(self, tx: Tx, live: Sequence[HeartbeatItem], ended: set[LeaseRef]) -> RenewalResult:
        """Renews leases except for those that `ended`. Locked ones are skipped if the worker understands that."""
        result = RenewalResult(set(ended), set())
        for skip_locked in (False, True):
            leases = _named(item for item in live if item.accepts_skipped is skip_locked)
            if to_renew := sorted(lease for lease in leases if LeaseRef(*lease[:3]) not in ended):
                renewed, skipped = tx.leases.renew(to_renew, self._settings.lease_ttl, skip_locked=skip_locked)
                result.renewed.update(renewed)
                result.skipped.update(skipped)
        return result

    def _apply(self, tx: Tx, group: Sequence[Item]) -> _Applied:
        reports = [item for item in group if isinstance(item, ReportItem)]
        folds = fold_updates(_permitted(reports, set()))
        undelivered = {ref for item in group if isinstance(item, UnsentLeases) for ref in item.refs}
        if not folds and not undelivered:
            return _Applied({}, set(), set())
        write = _Write(tx, self._settings)
        completed = write.complete(folds, _sources(reports))
        judged = _Applied({}, set(), set())
        if undelivered or len(completed) < len(folds):
            judged = _judge_locked(tx, write, reports, folds.keys() - completed, undelivered)
        write.finish()
        outcomes = {**dict.fromkeys(completed, Outcome.COMMITTED), **judged.outcomes}
        return _Applied(outcomes, completed | judged.ended, judged.foreign)


class _Applied(NamedTuple):
    """What reports have done: outcomes, the leases that they ended, and reports on other identities' leases."""

    outcomes: Mapping[LeaseRef, Outcome]
    ended: set[LeaseRef]
    foreign: set[ReportedLease]


def _judge_locked(
    tx: Tx, write: _Write, reports: Sequence[ReportItem], refs: Set[LeaseRef], undelivered: set[LeaseRef]
) -> _Applied:
    """Judges the reports on these leases under the locks of their rows."""
    live = tx.leases.lock(sorted({ref.task_key for ref in (*refs, *undelivered)}))
    tasks = _tasks_not_live(tx, refs, live)
    foreign = find_foreign(tx, _leases_with_tokens(reports), live, tasks)
    folds = fold_updates(update for update in _permitted(reports, foreign) if update.ref in refs)
    verdicts = _judge(tx, write.ledger, folds, live, tasks)
    for ref in undelivered:
        if (lease := live.get(ref.task_key)) and lease.ref == ref and not lease.revoked and ref not in folds:
            write.return_undelivered(lease)
    for ref, verdict in verdicts.items():
        write.apply(folds[ref], verdict, live.get(ref.task_key))
    outcomes = {ref: _OUTCOMES[verdict] for ref, verdict in verdicts.items()}
    ended = {ref for ref, verdict in verdicts.items() if verdict is Verdict.APPLY and folds[ref].ending}
    return _Applied(outcomes, ended, foreign)


def _sources(reports: Iterable[ReportItem]) -> Mapping[LeaseRef | None, set[ReportSource]]:
    """Returns who reports on each lease."""
    sources: defaultdict[LeaseRef | None, set[ReportSource]] = defaultdict(set)
    for report in reports:
        for update in report.updates:
            sources[update.ref].add(report.by)
    return sources


def _leases_with_tokens(reports: Iterable[ReportItem]) -> set[ReportedLease]:
    """Returns who reports which lease, if it has an identity: without tokens everyone may report anything."""
    return {
        (report.by, update.ref)
        for report in reports
        if report.by.identity
        for update in report.updates
        if update.ref is not None
    }


def _permitted(reports: Iterable[ReportItem], foreign: set[ReportedLease]) -> Iterable[LeaseUpdate]:
    for item in reports:
        if foreign:
            yield from (update for update in item.updates if (item.by, update.ref) not in foreign)
        else:
            yield from item.updates


def _answer_polls(tx: Tx, heartbeats: Sequence[HeartbeatItem], answers: Mapping[int, HeartbeatAnswer]) -> None:
    """Records which polls the heartbeats answer. What the workers saw is reported before, or in this transaction."""
    newest: dict[str, int] = {}
    for item in heartbeats:
        newest_asked = answers[item.session_key].desired_state.poll if item.session_key in answers else 0
        if 0 < item.heartbeat.last_poll <= newest_asked:
            newest[item.worker_id] = max(item.heartbeat.last_poll, newest.get(item.worker_id, 0))
    if newest:
        tx.signals.answered += tx.polls.record_answers(sorted(newest.items()))


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


def _outcome(source: ReportSource, ref: LeaseRef | None, applied: _Applied) -> Outcome:
    if ref is None or (applied.foreign and (source, ref) in applied.foreign):
        return Outcome.LEASE_LOST
    return applied.outcomes[ref]


def _named(heartbeats: Iterable[HeartbeatItem]) -> set[NamedLease]:
    return {NamedLease(*held.ref, item.worker_id) for item in heartbeats for held in item.heartbeat.held if held.ref}


def _ack(
    item: HeartbeatItem, desired_state: DesiredState, renewed: set[LeaseRef], skipped: set[LeaseRef]
) -> HeartbeatAck:
    others = [held for held in item.heartbeat.held if held.ref not in renewed]
    return HeartbeatAck(
        tuple(held.lease_id for held in others if held.ref not in skipped),
        desired_state,
        tuple(held.lease_id for held in others if held.ref in skipped),
    )


def _tasks_not_live(tx: Tx, refs: Iterable[LeaseRef], live: Mapping[int, LiveLease]) -> dict[int, TaskRow]:
    not_live = [ref.task_key for ref in refs if (lease := live.get(ref.task_key)) is None or lease.ref != ref]
    return tx.tasks.peek(sorted(not_live)) if not_live else {}


def _judge(
    tx: Tx,
    ledger: Ledger,
    folds: Mapping[LeaseRef, FoldedUpdates],
    live: Mapping[int, LiveLease],
    tasks: Mapping[int, TaskRow],
) -> dict[LeaseRef, Verdict]:
    """Returns a verdict for each lease. A late result counts only if its task could be removed from its queue."""
    verdicts = {
        ref: verdict_on(folded, live.get(ref.task_key), tasks.get(ref.task_key)) for ref, folded in folds.items()
    }
    late = {ref.task_key: ref for ref, verdict in verdicts.items() if verdict is Verdict.APPLY_LATE}
    if late:
        owned = _own_late(tx, ledger, late)
        verdicts |= {ref: Verdict.LOST for key, ref in late.items() if key not in owned}
    return verdicts


def _own_late(tx: Tx, ledger: Ledger, late: Mapping[int, LeaseRef]) -> set[int]:
    """Removes these tasks from their queues, except for those granted again meanwhile."""
    removed = tx.waiting.remove_next([(key, late[key].attempt + 1) for key in sorted(late)])
    for row in removed.values():
        ledger.dequeued(row)
    return set(removed)


class _Write:
    """Collects what verdicts do, and writes it in one statement a kind."""

    def __init__(self, tx: Tx, settings: Settings) -> None:
        self._tx = tx
        self.ledger = Ledger(tx)
        self._settings = settings
        self._changes: list[LeaseChange] = []
        self._completed: dict[LeaseRef, FoldedUpdates] = {}
        self._completed_late: dict[LeaseRef, FoldedUpdates] = {}
        self._ended: list[EndedLease] = []
        self._released: list[LiveLease] = []
        self._logs: list[AttemptLogRow] = []

    def complete(
        self, folds: Mapping[LeaseRef, FoldedUpdates], sources: Mapping[LeaseRef | None, set[ReportSource]]
    ) -> set[LeaseRef]:
        """Completes the tasks of the leases that are live and ended with a result; returns these leases.

        Of a lease that several workers report on, or that is not the reporter's by its identity, nothing is written.
        """
        results = []
        for ref, folded in folds.items():
            if isinstance(folded.ending, AttemptCompleted) and len(sources[ref]) == 1:
                (source,) = sources[ref]
                results.append(ReportedResult(*ref, source.worker_id if source.identity else None))
        if not results:
            return set()
        tasks = self._tx.leases.complete(sorted(results))
        self._store(tasks, folds)
        return {task.ref for task in tasks}

    def return_undelivered(self, lease: LiveLease) -> None:
        self._ended.append(EndedLease(lease, Cause(Move.RELEASE, LeaseEnd.RELEASED, "NOT_DELIVERED")))

    def apply(self, folded: FoldedUpdates, verdict: Verdict, lease: LiveLease | None) -> None:
        """Applies what was judged. A late result's task is out of its queue."""
        match verdict:
            case Verdict.APPLY_LATE:
                self._completed_late[folded.ref] = folded
            case Verdict.APPLY:
                assert lease is not None
                self._apply_live(folded, lease)
            case Verdict.END_REVOKED:
                assert lease is not None
                self._log(folded, lease.worker_id)
                self._released.append(lease)

    def _apply_live(self, folded: FoldedUpdates, lease: LiveLease) -> None:
        match folded.ending:
            case None:
                self._change(folded, lease)
            case AttemptCompleted():
                self._completed[folded.ref] = folded
            case AttemptFailed() | AttemptReleased() | AttemptDeferred() as ending:
                self._log(folded, lease.worker_id)
                started = folded.processing or (isinstance(ending, AttemptReleased) and ending.started)
                began = started or lease.status is Status.PROCESSING
                cause = reported_cause(ending, began, self._settings.max_deferrals)
                self._ended.append(EndedLease(lease, cause, starts=started))

    def _change(self, folded: FoldedUpdates, lease: LiveLease) -> None:
        if folded.processing and lease.status is Status.SUBMITTED:
            record(self.ledger, lease, STARTED)
        progress = folded.progress
        fields = (progress.percent, progress.step, progress.message) if progress else (None, None, None)
        self._changes.append(LeaseChange(*folded.ref, folded.accepted, folded.processing, *fields))

    def _log(self, folded: FoldedUpdates, worker_id: str) -> None:
        if folded.output is not None:
            self._logs.append(AttemptLogRow(folded.ref.task_key, folded.ref.attempt, worker_id, *folded.output))

    def finish(self) -> None:
        end_attempts(self._tx, self.ledger, self._ended, self._settings.max_worker_losses)
        if self._changes and self._tx.leases.change(self._changes) != len(self._changes):
            raise Inconsistent("a lease that was locked did not change")
        delete_revoked(self._tx, self._released)
        self._complete_judged(self._completed, late=False)
        self._complete_judged(self._completed_late, late=True)
        if self._logs:
            self._tx.attempt_logs.insert(self._logs)
        self.ledger.write()

    def _complete_judged(self, folds: Mapping[LeaseRef, FoldedUpdates], *, late: bool) -> None:
        if folds:
            tasks = self._tx.leases.complete([ReportedResult(*ref) for ref in sorted(folds)], late=late)
            if len(tasks) != len(folds):
                raise Inconsistent(f"{len(folds)} leases to be completed, {len(tasks)} were")
            self._store(tasks, folds)

    def _store(self, tasks: Sequence[CompletedTask], folds: Mapping[LeaseRef, FoldedUpdates]) -> None:
        """Stores the contents of tasks that were completed."""
        results = [(task, _result(folds[task.ref])) for task in tasks]
        self.ledger.completed(tasks)
        for task, result in results:
            if rollup := self.ledger.rollup:
                rollup.completed(task.account_id, task.seconds, _cost(result))
            self._log(folds[task.ref], task.worker_id)
        self._tx.contents.insert([_content(task, result) for task, result in results])
        name_assets(self._tx, results)
        if self._tx.webhook_interest:
            new_contents = [(task.content_id, task.account_id, task.ref.task_key, _review(task)) for task in tasks]
            store_new_contents(self._tx, new_contents)
        self._tx.signals.ended += [task.ref.task_key for task in tasks]


def _cost(result: TaskResult) -> float:
    """Returns what the creator says that the run has cost; 0 if it says nothing, or nonsense."""
    return max(0.0, result.usage.get("cost", 0.0)) if result.usage else 0.0


def _result(folded: FoldedUpdates) -> TaskResult:
    assert isinstance(folded.ending, AttemptCompleted)
    return folded.ending.result


def _review(task: CompletedTask) -> ReviewStatus:
    return ReviewStatus.APPROVED if task.auto_approve else ReviewStatus.PENDING_REVIEW


def _content(task: CompletedTask, result: TaskResult) -> ContentRow:
    return ContentRow(
        task.content_id,
        task.account_id,
        task.ref.task_key,
        result.title or task.title,
        result.body,
        result.html_body,
        summary_of(result.body),
        task.category,
        f"[{','.join(map(encode_basestring, result.images))}]" if result.images else "[]",
        len(result.body),
        result.quality_score,
        int(_review(task)),
        json.dumps(result.usage) if result.usage else None,
        result.model or None,
    )
