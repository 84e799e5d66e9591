"""Small submits: few plain tasks, which one statement checks, stores and commits.

On an idle machine a round trip to the database costs more than its statement: most of a submit's latency.

What the statement would refuse, or answer with a task that is there already, it leaves to `submit`, which says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scheduler_svc.application.records import EventRow, SmallSubmit, TagReservation
from scheduler_svc.application.tasks.ledger import signal_ready
from scheduler_svc.application.tasks.new_rows import (
    TaskKeys,
    as_inserted,
    label_rows,
    payload_row,
    request_row,
    task_row,
)
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import NewTask, Task

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

MAX_SMALL_GROUP = 50
"""Tasks. Many are stored faster by a statement a table."""


def store(tx: Tx, tasks: Sequence[NewTask], keys: TaskKeys, max_queue_size: int) -> list[Task] | None:
    """Stores and commits these tasks as the whole transaction; returns None, with nothing done, if it can't."""
    if len(tasks) > MAX_SMALL_GROUP or not all(map(_is_plain, tasks)) or _repeats_a_request(tasks):
        return None
    own = keys.at_hand(len(tasks))
    if own is None:
        return None
    new = list(zip(own, tasks, strict=True))
    counts = Counter((task.account_id, task.priority) for task in tasks)
    stored = tx.submits.store_small(
        SmallSubmit(
            tasks=[task_row(*each) for each in new],
            payloads=[payload_row(*each) for each in new],
            labels=[row for each in new for row in label_rows(*each)],
            requests=[request_row(key, task) for key, task in new if task.request_id],
            counts=counts,
        ),
        max_queue_size,
    )
    if stored is None:
        return None
    now, reservations = stored
    _signal(tx, own, counts, reservations)
    return [as_inserted(key, task, now) for key, task in new]


def _is_plain(task: NewTask) -> bool:
    return not (task.schedule_time or task.expire_time or task.unique_key or task.regenerates_content_id)


def _repeats_a_request(tasks: Sequence[NewTask]) -> bool:
    ids = [(task.account_id, task.request_id) for task in tasks if task.request_id]
    return len(ids) > len(set(ids))


def _signal(
    tx: Tx,
    keys: Sequence[int],
    counts: Mapping[tuple[int, int], int],
    reservations: Mapping[tuple[int, int], TagReservation],
) -> None:
    """Signals what the ledger signals of other submits."""
    tx.signals.moved = True
    tx.signals.moves += [
        EventRow(key, Status.NONE, Status.PENDING, 0, None, None, "SUBMITTED", None, None) for key in keys
    ]
    for (account_id, priority), reserved in reservations.items():
        if reserved.admitted:
            signal_ready(tx, account_id, reserved, tagged=True)
        if reserved.admitted < counts[account_id, priority]:
            signal_ready(tx, account_id, reserved, tagged=False)
