"""Of what others notice: watchers, receivers of webhooks, owners of schedules, and who waits while a lock is held."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from lab.chaos import evidence as records
from lab.chaos.evidence import Event, Evidence, Problem
from scheduler_svc.domain.lifecycle import OPEN, Status

MINUTE = 60
_Move = tuple[str, str]
_TASK_ENDED = "task.ended"
_Named = tuple[str, str, str]
"""Task, type and status of an event."""
_SETTLED = 3.0
"""Seconds after which whoever met the lock has set aside what needs it, or health says that work stands still."""


def ticks(evidence: Evidence) -> Iterator[Problem]:
    """Each tick of a schedule has one task, whatever is done to schedulers, and no other task comes from a schedule.

    Of schedules that tick every minute and catch all of it up; a task without a tick breaks `submits`.
    """
    of_schedule: dict[int, list[records.StoredTick]] = defaultdict(list)
    for tick in evidence.stored.ticks:
        of_schedule[tick.schedule_id].append(tick)
    for schedule in evidence.journals.schedules:
        schedule_ticks = of_schedule.pop(schedule.schedule_id, [])
        for problem in _times(schedule, schedule_ticks):
            yield "", f"schedule {schedule.schedule_id} {problem}"
        for tick in schedule_ticks:
            task = evidence.stored.tasks.get(tick.task_id)
            origin = f"a tick of schedule {schedule.schedule_id} made it, and"
            if task is None:
                yield tick.task_id, f"{origin} the database does not have it"
            elif task.account_id != schedule.account_id:
                yield (
                    tick.task_id,
                    f"{origin} it is of account {task.account_id}; it should be of {schedule.account_id}",
                )
    for schedule_id in of_schedule:
        yield "", f"there are ticks of schedule {schedule_id}, which nobody created"


def _times(schedule: records.Scheduled, schedule_ticks: Sequence[records.StoredTick]) -> Iterator[str]:
    """Minutes are counted since the epoch."""
    times = Counter(tick.time / MINUTE for tick in schedule_ticks)
    first = int(schedule.begin) // MINUTE + 1
    last = max([(schedule.until - schedule.jitter) // MINUTE, *times])
    minutes = range(first, int(last) + 1)
    for minute in minutes:
        if times[minute] != 1:
            yield f"has {times[minute]} tasks of minute {minute - first + 1}; it should have 1"
    for time in times.keys() - set(minutes):
        yield f"has a task of {time * MINUTE:g}, which is no tick of it"


def watches(evidence: Evidence) -> Iterator[Problem]:
    """Who watches an account is told of every move of its tasks once, and of each task's moves in order.

    For each account that was watched from its first task on: what was told is the history, task by task.
    """
    moves: dict[str, list[_Move]] = defaultdict(list)
    for move in evidence.journals.watched:
        moves[move.task_id].append((move.previous, move.status))
    accounts = {move.account_id for move in evidence.journals.watched}
    for task in evidence.stored.tasks.values():
        if task.account_id in accounts:
            events = evidence.stored.events.get(task.task_id, ())
            history = [
                ("" if event.previous is Status.NONE else event.previous.label, event.status.label) for event in events
            ]
            if difference := _difference(moves.pop(task.task_id, []), history):
                yield task.task_id, difference
    for task_id in moves:
        yield task_id, "its watcher was told of a task that the database does not have"


def _difference(moves: list[_Move], history: list[_Move]) -> str | None:
    if moves == history:
        return None
    index = next(n for n, (move, step) in enumerate(zip_longest(moves, history)) if move != step)
    return (
        f"its watcher was told of {_name(moves, index)} as move {index + 1} of {len(moves)}; "
        f"it should be {_name(history, index)} of {len(history)}"
    )


def _name(moves: list[_Move], index: int) -> str:
    return " → ".join(filter(None, moves[index])) if index < len(moves) else "none"


def webhooks(evidence: Evidence) -> Iterator[Problem]:
    """A webhook's receiver gets each event under one id, at least once, and those of a task in order.

    What is accepted counts; nothing is promised where there is no webhook.
    """
    if not evidence.journals.subscribed:
        return
    received = evidence.journals.received
    events: dict[str, _Named] = {}
    for delivery in received:
        if events.setdefault(delivery.event_id, _named(delivery)) != _named(delivery):
            yield delivery.task_id, f"event {delivery.event_id} came with another content before"
    accepted = {delivery.event_id: delivery for delivery in reversed(received) if delivery.accepted}
    first = sorted(accepted.values(), key=received.index)
    numbers = Counter(map(_named, first))
    due = Counter(_due(evidence.stored))
    for event in sorted(numbers | due):
        if numbers[event] != due[event]:
            task_id, kind, status = event
            yield task_id, f"its webhook got {numbers[event]} events {kind} ({status}); it should be {due[event]}"
    yield from _order(first, evidence.stored.events)


def _named(delivery: records.Received) -> _Named:
    return delivery.task_id, delivery.type, delivery.status


def _due(stored: records.Stored) -> Iterator[_Named]:
    for task_id, events in stored.events.items():
        yield from ((task_id, _TASK_ENDED, status) for status in _ends(events))
    for content in stored.contents:
        yield content.task_id, f"content.{content.review_status}", content.review_status


def _ends(events: Sequence[Event]) -> Iterator[str]:
    """Yields the states in which a transaction left the task without a way on."""
    for event, following in zip_longest(events, events[1:]):
        if event.status not in OPEN and (following is None or following.time != event.time):
            yield event.status.label


def _order(first: Sequence[records.Received], histories: Mapping[str, Sequence[Event]]) -> Iterator[Problem]:
    """A task's ends come in the order of its history."""
    statuses_by_task: dict[str, list[str]] = defaultdict(list)
    for delivery in first:
        if delivery.type == _TASK_ENDED:
            statuses_by_task[delivery.task_id].append(delivery.status)
    for task_id, statuses in statuses_by_task.items():
        ends = list(_ends(histories.get(task_id, ())))
        if statuses != ends and sorted(statuses) == sorted(ends):
            yield task_id, f"its ends came as {', '.join(statuses)}; it should be {', '.join(ends)}"


def locks(evidence: Evidence) -> Iterator[Problem]:
    """Another session's lock on some rows delays only what needs those rows; health reports a locked table.

    Of locks that lasted long enough, while no other fault of schedulers, PostgreSQL or their wires was felt.
    """
    journals = evidence.journals
    for fault in journals.faults:
        if fault.duration > _SETTLED + 1.0 and not _disturbed(fault, journals):
            cause = f"(another session held {fault.tables} for {fault.duration:.1f} s)"
            if fault.kind == records.ROW_LOCK:
                yield from (("", f"{problem} {cause}") for problem in _held_up(fault, journals))
            elif fault.kind == records.TABLE_LOCK and fault.tables in {
                "leases",
                "workers",
            }:  # each heartbeat needs them
                end = fault.time + fault.duration
                if not any(fault.time < seen.time < end and not seen.serving for seen in journals.health):
                    yield "", f"no scheduler said NOT_SERVING while its work stood still {cause}"


def _held_up(fault: records.Fault, journals: records.Journals) -> Iterator[str]:
    begin, end = fault.time + _SETTLED, fault.time + fault.duration
    acknowledged = [probe.time for probe in journals.probes] + [submit.time for submit in journals.submits]
    if not any(begin < time < end for time in acknowledged):
        yield f"no submit was acknowledged for {end - begin:.1f} s"
    for seen in journals.health:
        if begin < seen.time < end and not seen.serving:
            yield f"{seen.scheduler} said NOT_SERVING"


def _disturbed(fault: records.Fault, journals: records.Journals) -> bool:
    """Returns whether another fault, but for one of a worker, was felt meanwhile, as it may be until 12 s later."""
    return any(
        not rival.victim.startswith("worker")
        and rival is not fault
        and rival.time < fault.time + fault.duration
        and fault.time < rival.time + rival.duration + 12.0
        for rival in journals.faults
    )


def leftovers(evidence: Evidence) -> Iterator[Problem]:
    """Nothing is left once all services have stopped."""
    for leftover in evidence.leftovers:
        yield "", f"a {leftover.kind} is left: {leftover.what}"
