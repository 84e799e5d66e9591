"""Each tick of a schedule has one task, whatever is done to schedulers, and no other task comes from a schedule."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lab.chaos.evidence import Evidence, Scheduled, StoredTask, StoredTick
from lab.chaos.violation import Violation

NAME = "ticks"
MINUTE = 60


def ticks(evidence: Evidence) -> Iterator[Violation]:
    """Of schedules that tick every minute and catch all of it up; a task without a tick breaks `submits`."""
    stored = evidence.stored
    of_schedule: dict[int, list[StoredTick]] = defaultdict(list)
    for tick in stored.ticks:
        of_schedule[tick.schedule_id].append(tick)
    for schedule in evidence.journals.schedules:
        schedule_ticks = of_schedule.pop(schedule.schedule_id, [])
        yield from (
            Violation(NAME, "", f"schedule {schedule.schedule_id} {problem}")
            for problem in _times(schedule, schedule_ticks)
        )
        for tick in schedule_ticks:
            if defect := _wrong(stored.tasks.get(tick.task_id), schedule):
                yield Violation(NAME, tick.task_id, f"a tick of schedule {schedule.schedule_id} made it, and {defect}")
    for schedule_id in of_schedule:
        yield Violation(NAME, "", f"there are ticks of schedule {schedule_id}, which nobody created")


def _times(schedule: Scheduled, schedule_ticks: Sequence[StoredTick]) -> Iterator[str]:
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


def _wrong(task: StoredTask | None, schedule: Scheduled) -> str | None:
    if task is None:
        return "the database does not have it"
    if task.account_id != schedule.account_id:
        return f"it is of account {task.account_id}; it should be of {schedule.account_id}"
    return None
