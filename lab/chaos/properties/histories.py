"""Every task came to a legal end by a legal path, and each move under a lease was made under the latest one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from lab.chaos.evidence import Event, Evidence, StoredTask
from lab.chaos.violation import Violation
from scheduler_svc.domain.lifecycle import AUTO_RETRY, MOVES, OPEN, RUNNING, Status

NAME = "histories"


def histories(evidence: Evidence) -> Iterator[Violation]:
    """Paths, attempts, retries and ends; an acknowledged cancel is a cancelled task."""
    for task in evidence.stored.tasks.values():
        events = evidence.stored.events.get(task.task_id, ())
        for problem in (*_path(task, events), *_leases(events), *_retries(task, events)):
            yield Violation(NAME, task.task_id, problem)
        history = evidence.answers.histories.get(task.task_id)
        if history is not None and list(history) != [(event.status, event.attempt) for event in events]:
            yield Violation(NAME, task.task_id, "the API shows another history than the database has")
    for cancel in evidence.journals.cancels:
        stored = evidence.stored.tasks.get(cancel.task_id)
        if stored is not None and stored.status is not Status.CANCELLED:
            yield Violation(NAME, cancel.task_id, f"its cancel was acknowledged, but it is {stored.status.label}")


def _path(task: StoredTask, events: Sequence[Event]) -> Iterator[str]:
    """Gapless, from nothing to where the task stands, along edges of the transition table."""
    if not events:
        yield "it has no history"
        return
    if events[0].previous is not Status.NONE:
        yield f"its history begins with {events[0].previous.label}, not with nothing"
    for event in events:
        if (event.previous, event.status) not in MOVES:
            yield f"the transition table does not let it go from {event.previous.label} to {event.status.label}"
    for before, after in pairwise(events):
        if before.status is not after.previous:
            yield f"its history goes on from {after.previous.label}, but it was {before.status.label}"
    if events[-1].status is not task.status:
        yield f"it is {task.status.label}, but its history ends with {events[-1].status.label}"
    if task.status in OPEN:
        yield f"it never ended: it is still {task.status.label}"


def _leases(events: Sequence[Event]) -> Iterator[str]:
    """Attempts count up by one, and what moves a leased task, or completes it, is its latest lease."""
    latest, holder = 0, ""
    for event in events:
        if event.status is Status.SUBMITTED:
            if event.attempt != latest + 1:
                yield f"attempt {event.attempt} was granted after attempt {latest}"
            latest, holder = event.attempt, event.worker
        elif _is_of_lease(event) and (event.attempt, event.worker) != (latest, holder):
            yield (
                f"attempt {event.attempt} of {event.worker or 'nobody'} moved it to {event.status.label}, "
                f"while attempt {latest} of {holder or 'nobody'} was the latest"
            )


def _is_of_lease(event: Event) -> bool:
    return event.previous in RUNNING or event.status is Status.COMPLETED


def _retries(task: StoredTask, events: Sequence[Event]) -> Iterator[str]:
    retried = sum(event.reason == AUTO_RETRY for event in events)
    if max(retried, task.retry_count) > task.max_retries:
        yield f"it was retried {max(retried, task.retry_count)} times, {task.max_retries} at most were allowed"
