"""Submits: a group of calls in one transaction, each of them all or nothing.

A small submit is a few plain tasks, which one statement checks, stores and commits: on an idle machine a round trip to
the database costs more than its statement, and is most of a submit's latency. What that statement would refuse, or
answer with a task that is there already, it leaves to `SubmitWork`, which says why.

A task takes its unique key when it becomes open, by a submit or a retry, under the lock of the key's row; so no two
open tasks of an account have the same one, on any number of replicas. Whether a holder is open is read after that lock:
the statement that waits for the lock would read it as of a moment before. A submit that gets no key creates nothing,
and its `request_id` is not remembered: a repeat of the call is judged by the key again.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from scheduler_svc.dispatch.routing import number_selectors
from scheduler_svc.dispatch.work import InlineClaim
from scheduler_svc.domain.dispatch import queue_of
from scheduler_svc.domain.errors import DomainError, RequestIdConflict
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import SUBMITTED, Status
from scheduler_svc.domain.task import (
    SCHEDULED,
    ExistingTask,
    NewTask,
    Task,
    as_inserted,
    first_uncounted_day,
)
from scheduler_svc.domain.worker import WorkerSelector
from scheduler_svc.history.work import Ledger, ReadyRow, TagReservation, signal_ready
from scheduler_svc.tasks.rows import (
    RequestId,
    SubmitContext,
    UniqueKey,
    label_rows,
    milliseconds,
    payload_row,
    request_row,
    task_row,
)
from scheduler_svc.tasks.submit_checks import KnownNames, SubmitChecks, TaskKeys, can_accept_all

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.runtime.group_committer import GroupCommitter
    from scheduler_svc.transactions import Tx


MAX_SMALL_GROUP = 50
"""Tasks. Many are stored faster by a statement a table."""


def store_small(tx: Tx, tasks: Sequence[NewTask], keys: TaskKeys, settings: Settings) -> list[Task] | None:
    """Stores and commits these tasks as the whole transaction, with an inline claim if there is one.

    Returns None, with none of them stored, if it can't; the claim may be committed all the same.
    """
    if len(tasks) > MAX_SMALL_GROUP or not all(map(_is_plain, tasks)) or _repeats_a_request(tasks):
        return None
    task_keys = keys.at_hand(len(tasks))
    if task_keys is None:
        return None
    pairs = list(zip(task_keys, tasks, strict=True))
    counts = Counter((task.account_id, task.priority) for task in tasks)
    inline = tx.after_commit
    claim = partial(inline.join, tx) if isinstance(inline, InlineClaim) and inline.pending else None
    stored = tx.submits.store_small(pairs, counts, settings.max_queue_size, claim)
    if stored is None:
        return None
    _signal(tx, counts, stored.reservations)
    tx.signals.ready &= stored.ready
    return [as_inserted(key, task, stored.now) for key, task in pairs]


def _is_plain(task: NewTask) -> bool:
    return not (
        task.schedule_time or task.expire_time or task.unique_key or task.regenerates_content_id or task.worker_selector
    )


def _repeats_a_request(tasks: Sequence[NewTask]) -> bool:
    ids = [(task.account_id, task.request_id) for task in tasks if task.request_id]
    return len(ids) > len(set(ids))


def _signal(
    tx: Tx,
    counts: Mapping[tuple[int, int], int],
    reservations: Mapping[tuple[int, int], TagReservation],
) -> None:
    """Signals what the ledger signals of other submits."""
    tx.signals.moved = True
    tx.signals.moves[SUBMITTED] += sum(counts.values())
    for (account_id, priority), reserved in reservations.items():
        if reserved.admitted:
            signal_ready(tx, account_id, reserved, tagged=True)
        if reserved.admitted < counts[account_id, priority]:
            signal_ready(tx, account_id, reserved, tagged=False)


def retake_keys(tx: Tx, keys: Sequence[int]) -> dict[int, int]:
    """Takes the keys of ended tasks, which this transaction opens again, from tasks that have ended.

    Returns the tasks whose key an open task holds, each with that one.
    """
    rows = tx.unique_keys.of_tasks(keys)
    return take_keys(tx, rows, None) if rows else {}


def take_keys(tx: Tx, rows: Sequence[UniqueKey], now: datetime | None) -> dict[int, int]:
    """Takes keys for tasks that this transaction inserts or opens; of equal keys the first row gets it.

    Returns the other tasks, each with the task that holds its key: an open one or, with `now`, a young enough one.
    """
    own_keys = {row.task_key for row in rows}
    held: dict[int, int] = {}
    left = list(rows)
    while left:  # again for those whose holder was deleted between the two statements
        tx.unique_keys.insert(left)
        holders = tx.unique_keys.lock(left)
        blocking = own_keys | _blocking_tasks(tx, holders.values(), now)
        free = []
        for row in left:
            holder = holders.get(row.name)
            if holder is not None and holder.task_key != row.task_key:
                if holder.task_key in blocking:
                    held[row.task_key] = holder.task_key
                else:
                    holders[row.name] = row
                    free.append(row)
        tx.unique_keys.replace(free)
        left = [row for row in left if row.name not in holders]
    return held


def _blocking_tasks(tx: Tx, holders: Iterable[UniqueKey], now: datetime | None) -> set[int]:
    """Returns those that are open, or young enough. A replica of the version before deletes no keys."""
    until = {holder.task_key: holder.until for holder in holders}
    return {
        key
        for key, task in tx.tasks.peek(sorted(until)).items()
        if task.status is Status.PENDING or (now is not None and until[key] > now)
    }


@dataclass(frozen=True, slots=True)
class SubmitItem:
    """One call: one task, or a batch that is stored as a whole or not at all. `size`: bytes of its request."""

    tasks: tuple[NewTask, ...]
    size: int = 0
    batch: bool = False


SubmitCommitter: TypeAlias = "GroupCommitter[SubmitItem, tuple[Task, ...]]"
"""The group committer of submits."""


class SubmitWork:
    """Stores groups of submits: the work of the submit committer, and a part of other transactions."""

    def __init__(self, settings: Settings, *, commits: bool = False) -> None:
        """`commits`: a group is a whole transaction, which its last statement may commit."""
        self._settings = settings
        self._commits = commits
        self._keys = TaskKeys(settings.cell)

    def run_group(self, tx: Tx, group: Sequence[SubmitItem]) -> list[tuple[Task, ...] | DomainError]:
        """Stores a group; the answer to each item is its tasks, or the error that refused it.

        A task that was there before is an `ExistingTask`.
        """
        tasks = [task for item in group for task in item.tasks]
        stored = store_small(tx, tasks, self._keys, self._settings) if self._commits else None
        if stored:
            stored_tasks = iter(stored)
            return [tuple(islice(stored_tasks, len(item.tasks))) for item in group]
        accounts = sorted({task.account_id for task in tasks})
        context = tx.submits.context(accounts)
        answers: dict[int, tuple[Task, ...] | DomainError] = {}
        if not can_accept_all(context, accounts, [item.tasks for item in group], self._settings):
            answers |= self._refused(tx, group, context)
        numbers = _numbered(tx, group, answers)
        keys = {i: self._keys.take(tx, len(item.tasks)) for i, item in enumerate(group) if i not in answers}
        first = self._remember(tx, group, keys, answers)
        pairs = [
            (key, task)
            for i, task_keys in keys.items()
            if i not in answers
            for key, task in zip(task_keys, group[i].tasks, strict=True)
        ]
        first = _with_unique(tx, pairs, first, context.now)
        created = [(key, task) for key, task in pairs if key not in first]
        _insert(tx, created, context.now, numbers)
        repeated = {first[key]: task for key, task in pairs if key in first}
        results = _present(tx, created, repeated, context.now)
        for i, task_keys in keys.items():
            if i not in answers:
                answers[i] = tuple(
                    ExistingTask._make(results[first[key]]) if key in first else results[key] for key in task_keys
                )
        return [answers[i] for i in range(len(group))]

    def _refused(self, tx: Tx, group: Sequence[SubmitItem], context: SubmitContext) -> dict[int, DomainError]:
        """Returns the refusals. A repeat adds nothing, and is answered in any state of its account."""
        refused = _judged(group, SubmitChecks(context, self._settings))
        if not refused:
            return refused
        uncounted = tx.submits.scheduled_from(first_uncounted_day(context.now))
        return _judged(group, SubmitChecks(context, self._settings, uncounted, _known(tx, group)))

    def _remember(
        self,
        tx: Tx,
        group: Sequence[SubmitItem],
        keys: Mapping[int, list[int]],
        answers: dict[int, tuple[Task, ...] | DomainError],
    ) -> dict[int, int]:
        """Maps each key whose request_id is in use to the first task's key; refuses items with another payload.

        A refused item must leave nothing behind by which another item was answered, so the group then starts over.
        """
        while True:
            requests = {
                i: [
                    request_row(key, task)
                    for key, task in zip(task_keys, group[i].tasks, strict=True)
                    if task.request_id
                ]
                for i, task_keys in keys.items()
                if i not in answers
            }
            rows = [row for item_rows in requests.values() for row in item_rows]
            new_keys = tx.submits.remember(rows) if rows else set()
            repeats = [row for row in rows if row.task_key not in new_keys]
            known = tx.submits.known(repeats) if repeats else {}
            complete = all(_id_of(row) in known for row in repeats)  # else an old one was deleted just now
            if complete and all(known[_id_of(row)].fingerprint == row.fingerprint for row in repeats):
                return {row.task_key: known[_id_of(row)].task_key for row in repeats}
            tx.submits.forget([row for row in rows if row.task_key in new_keys])
            if complete:
                answers |= _refused_in_turn(requests, [row for row in known.values() if row.task_key not in new_keys])


def _refused_in_turn(
    requests: Mapping[int, Sequence[RequestId]], stored: Sequence[RequestId]
) -> dict[int, RequestIdConflict]:
    """Returns items with a request_id of another payload: of a stored task, or of an earlier item that is not refused.

    Each is judged as if it came alone after those before it, so a refused item refuses no other.
    """
    first_rows = {_id_of(row): row for row in stored}
    refused: dict[int, RequestIdConflict] = {}
    for i, rows in requests.items():
        own: dict[tuple[int, str], RequestId] = {}
        tried = ChainMap(own, first_rows)
        clash = next((row for row in rows if tried.setdefault(_id_of(row), row).fingerprint != row.fingerprint), None)
        if clash is None:
            first_rows |= own
        else:
            refused[i] = RequestIdConflict(clash.request_id, format_task_id(tried[_id_of(clash)].task_key))
    return refused


def _id_of(row: RequestId) -> tuple[int, str]:
    return row.account_id, row.request_id


def _judged(group: Sequence[SubmitItem], checks: SubmitChecks) -> dict[int, DomainError]:
    refusals = {i: checks.refusal(item.tasks, batch=item.batch) for i, item in enumerate(group)}
    return {i: error for i, error in refusals.items() if error is not None}


def _known(tx: Tx, group: Sequence[SubmitItem]) -> KnownNames:
    """Returns the request ids and unique keys of a group that are in use."""
    tasks = [task for item in group for task in item.tasks]
    requests = [RequestId(task.account_id, task.request_id, 0, b"") for task in tasks if task.request_id]
    unique = [_unique_key(0, task, tx.now) for task in tasks if task.unique_key]
    return KnownNames(
        set(tx.submits.known(requests)) if requests else set(), tx.unique_keys.held(unique) if unique else set()
    )


def _with_unique(tx: Tx, pairs: Sequence[tuple[int, NewTask]], first: dict[int, int], now: datetime) -> dict[int, int]:
    """Adds to `first` the tasks whose unique key another task holds.

    The request ids of these are not remembered: they stand for nothing that was created.
    """
    rows = [_unique_key(key, task, now) for key, task in pairs if task.unique_key and key not in first]
    held = take_keys(tx, rows, now) if rows else {}
    if not held:
        return first
    answered = [(key, task) for key, task in pairs if key in held and task.request_id]
    if answered:
        tx.submits.forget([RequestId(task.account_id, task.request_id, key, b"") for key, task in answered])
    return {key: held.get(before, before) for key, before in first.items()} | held


def _unique_key(key: int, task: NewTask, now: datetime) -> UniqueKey:
    return UniqueKey(task.account_id, task.unique_key, key, now + task.unique_for)


def _numbered(
    tx: Tx, group: Sequence[SubmitItem], answers: dict[int, tuple[Task, ...] | DomainError]
) -> Mapping[bytes, int]:
    """Returns the numbers of the group's worker selectors, by digest; refuses items with one that gets none."""
    wanted = [
        (i, task.account_id, WorkerSelector(task.worker_selector))
        for i, item in enumerate(group)
        if i not in answers
        for task in item.tasks
        if task.worker_selector
    ]
    if not wanted:
        return {}
    numbers, refused = number_selectors(tx, [(account_id, selector) for _, account_id, selector in wanted])
    answers |= {wanted[n][0]: error for n, error in refused.items()}
    return numbers


def _insert(tx: Tx, created: Sequence[tuple[int, NewTask]], now: datetime, numbers: Mapping[bytes, int]) -> None:
    """Inserts tasks. The ledger is last: from then on others that submit to these accounts wait for the commit."""
    if not created:
        return
    tx.tasks.insert(
        [task_row(*pair) for pair in created],
        [payload_row(*pair) for pair in created],
        [row for pair in created for row in label_rows(*pair)],
    )
    _store_rare(tx, created)
    ledger = Ledger(tx)
    for key, task in created:
        ledger.move(key, task.account_id, *SUBMITTED)
        number = numbers[WorkerSelector(task.worker_selector).digest] if task.worker_selector else 0
        place = ReadyRow(key, queue_of(task.priority, number), None, task.account_id, 1, milliseconds(task))
        until = task.schedule_time if task.schedule_time is not None and task.schedule_time > now else None
        ledger.enqueue(place, until=until, cause=SCHEDULED, expire_time=task.expire_time)
    ledger.write()


def _store_rare(tx: Tx, created: Sequence[tuple[int, NewTask]]) -> None:
    """Stores what few tasks have."""
    for key, task in created:
        if task.regenerates_content_id:
            tx.tasks.regenerate(key, task.regenerates_content_id)
    if expire_times := {key: task.expire_time for key, task in created if task.expire_time}:
        tx.expiry.submit(expire_times)
    if unique_keys := {key: (task.unique_key, task.unique_for) for key, task in created if task.unique_key}:
        tx.unique_keys.store(unique_keys)
    if selectors := {key: task.worker_selector for key, task in created if task.worker_selector}:
        tx.selectors.store(selectors)


def _present(
    tx: Tx, created: Sequence[tuple[int, NewTask]], repeated: Mapping[int, NewTask], now: datetime
) -> dict[int, Task]:
    """Returns the tasks by key: new ones as inserted; repeated ones as they are now, or as they were when deleted."""
    tasks = {key: as_inserted(key, task, now) for key, task in created}
    if before := sorted(repeated.keys() - tasks.keys()):
        tasks |= tx.task_reads.get(before)
    if gone := [repeated[key] for key in before if key not in tasks]:
        last = tx.task_reads.cleaned_up([(task.account_id, task.request_id) for task in gone])
        tasks |= {task.task_key: _with_payload(task, repeated[task.task_key]) for task in last}
    return tasks


_PAYLOAD = ("brief", "labels", "request_id", "unique_key", "unique_for", "worker_selector")


def _with_payload(task: Task, repeated: NewTask) -> Task:
    """Returns a task that was kept without its payload, with that of the repeated submit."""
    return task._replace(**{name: getattr(repeated, name) for name in _PAYLOAD})
