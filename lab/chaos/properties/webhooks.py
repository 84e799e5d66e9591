"""A webhook's receiver gets each event under one id, at least once, and those of a task in order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from lab.chaos.evidence import Event, Evidence, Received, Stored
from lab.chaos.violation import Violation
from scheduler_svc.domain.lifecycle import OPEN

NAME = "webhooks"
TASK_ENDED = "task.ended"
Named = tuple[str, str, str]
"""Task, type and status of an event."""


def webhooks(evidence: Evidence) -> Iterator[Violation]:
    """What is accepted counts; nothing is promised where there is no webhook."""
    if not evidence.journals.subscribed:
        return
    yield from _renamed(evidence.journals.received)
    accepted = {delivery.event_id: delivery for delivery in reversed(evidence.journals.received) if delivery.accepted}
    first = sorted(accepted.values(), key=evidence.journals.received.index)
    counts = Counter(map(_named, first))
    due = Counter(_due(evidence.stored))
    for event in sorted(counts | due):
        if counts[event] != due[event]:
            task_id, kind, status = event
            problem = f"its webhook got {counts[event]} events {kind} ({status}); it should be {due[event]}"
            yield Violation(NAME, task_id, problem)
    yield from _order(first, evidence.stored.events)


def _named(delivery: Received) -> Named:
    return delivery.task_id, delivery.type, delivery.status


def _due(stored: Stored) -> Iterator[Named]:
    for task_id, events in stored.events.items():
        yield from ((task_id, TASK_ENDED, status) for status in _ends(events))
    for content in stored.contents:
        yield content.task_id, f"content.{content.review_status}", content.review_status


def _ends(events: Sequence[Event]) -> Iterator[str]:
    """Yields the states in which a transaction left the task without a way on."""
    for event, following in zip_longest(events, events[1:]):
        if event.status not in OPEN and (following is None or following.time != event.time):
            yield event.status.label


def _renamed(deliveries: Sequence[Received]) -> Iterator[Violation]:
    events: dict[str, Named] = {}
    for delivery in deliveries:
        if events.setdefault(delivery.event_id, _named(delivery)) != _named(delivery):
            yield Violation(NAME, delivery.task_id, f"event {delivery.event_id} came with another content before")


def _order(first: Sequence[Received], histories: Mapping[str, Sequence[Event]]) -> Iterator[Violation]:
    """A task's ends come in the order of its history."""
    statuses_by_task: dict[str, list[str]] = defaultdict(list)
    for delivery in first:
        if delivery.type == TASK_ENDED:
            statuses_by_task[delivery.task_id].append(delivery.status)
    for task_id, statuses in statuses_by_task.items():
        ends = list(_ends(histories.get(task_id, ())))
        if statuses != ends and sorted(statuses) == sorted(ends):
            yield Violation(NAME, task_id, f"its ends came as {', '.join(statuses)}; it should be {', '.join(ends)}")
