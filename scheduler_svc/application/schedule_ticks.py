"""The ticks of schedules, which submit their tasks.

A tick, its task and the schedule's next tick are one transaction, under the lock of the schedule's row. So a tick has
one task at most, whichever replica runs it and whenever it dies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler_svc.application.records import FiredSchedule, ScheduleTask
from scheduler_svc.application.schedules import Clock, ReadTemplate, database_clock
from scheduler_svc.application.tasks.submit import SubmitItem, SubmitWork
from scheduler_svc.application.tracing import NO_TRACER, Tracer
from scheduler_svc.domain.cron import UnknownZone
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.schedule import Due, Overlap, Plan, Schedule, plan
from scheduler_svc.domain.task import NewTask, Task

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

MAX_BATCH = 50
"""Schedules that one transaction looks at."""
MAX_BATCH_WEIGHT = 2_000
"""KiB of templates, each task at least one: a transaction takes no further schedule beyond it."""
MAX_ERROR = 2_000
"""Characters of `last_error`."""
ZONE_RETRY = timedelta(minutes=1)
"""When a tick is tried again whose time zone this machine does not know: another replica's may."""


@dataclass(frozen=True, slots=True)
class Fired:
    """How many schedules a round looked at, and the seconds until the next one is due (None: none is)."""

    count: int
    next_due: float | None


@dataclass(slots=True)
class _Firing:
    """A schedule that is due, and what comes of it."""

    schedule: Schedule
    plan: Plan
    error: str = ""
    last: Task | None = None

    @property
    def weight(self) -> int:
        return len(self.plan.ticks) * max(1, len(self.schedule.settings.template) // 1024)


class Ticks:
    """The work of the loop that runs ticks. For one thread at a time."""

    def __init__(
        self,
        max_queue_size: int,
        read_template: ReadTemplate,
        clock: Clock = database_clock,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._submits = SubmitWork(max_queue_size)
        self._read_template = read_template
        self._clock = clock

    def run_due(self, tx: Tx, *, skip_locked: bool = False) -> Fired:
        """Runs the ticks that are due, of some schedules; `skip_locked`: not of accounts that are locked."""
        now = self._clock(tx)
        due = tx.schedules.lock_due(now, MAX_BATCH, _locked_accounts(tx, now) if skip_locked else ())
        firings = _bounded([_firing(schedule, now) for schedule in due])
        if firings:
            _leave_out_ran(tx, firings)
            _leave_out_overlaps(tx, firings)
            self._submit(tx, firings)
            tx.schedules.record([_record(firing, now) for firing in firings])
        next_due = tx.schedules.next_due()
        return Fired(len(firings), None if next_due is None else (next_due - now).total_seconds())

    def _submit(self, tx: Tx, firings: Sequence[_Firing]) -> None:
        """Submits the tasks of all ticks, and keeps the last task or refusal of each schedule."""
        ticks: list[tuple[_Firing, datetime]] = []
        items: list[SubmitItem] = []
        for firing in firings:
            if not firing.plan.ticks:
                continue
            try:
                new = self._read_template(firing.schedule)
            except DomainError as error:
                firing.error = error.message
                continue
            ticks += [(firing, tick) for tick in firing.plan.ticks]
            items += [SubmitItem(self._traced(new)) for _ in firing.plan.ticks]
        made: list[ScheduleTask] = []
        for (firing, tick), answer in zip(ticks, self._submits.run_group(tx, items) if items else (), strict=True):
            if isinstance(answer, DomainError):
                firing.error = answer.message
            else:
                (firing.last,) = answer
                firing.error = ""
                made.append(ScheduleTask(firing.last.task_key, firing.schedule.schedule_id, tick))
        if made:
            tx.schedules.add_tasks(made)

    def _traced(self, new: NewTask) -> tuple[NewTask, ...]:
        with self._tracer.submit("schedule", None) as span:
            return span.traced((new,))


def _locked_accounts(tx: Tx, now: datetime) -> Collection[int]:
    but: set[int] = set()
    while locked := tx.window.try_lock(tx.schedules.due_accounts(now, MAX_BATCH, but)):
        but |= locked
    return but


def _firing(schedule: Schedule, now: datetime) -> _Firing:
    assert schedule.next is not None, "it is due"
    try:
        decided = plan(schedule.timing, schedule.settings.catch_up, schedule.next.tick, now)
    except UnknownZone as error:
        later = Plan((), Due(schedule.next.tick, now + ZONE_RETRY))
        return _Firing(schedule, later, f"this scheduler does not know the time zone {error}")
    return _Firing(schedule, decided, "" if decided.ticks else "its last tick was missed, and is not caught up")


def _bounded(firings: Sequence[_Firing]) -> list[_Firing]:
    """As many as one transaction takes, at least one."""
    taken: list[_Firing] = []
    for firing in firings:
        if taken and sum(each.weight for each in taken) + firing.weight > MAX_BATCH_WEIGHT:
            break
        taken.append(firing)
    return taken


def _leave_out_ran(tx: Tx, firings: Sequence[_Firing]) -> None:
    """Takes out ticks that have a task: the database's clock may have been set back."""
    ticks = [(firing.schedule.schedule_id, tick) for firing in firings for tick in firing.plan.ticks]
    ran = tx.schedules.ran(ticks) if ticks else set()
    for firing in firings:
        left = [tick for tick in firing.plan.ticks if (firing.schedule.schedule_id, tick) not in ran]
        firing.plan = firing.plan._replace(ticks=left)


def _leave_out_overlaps(tx: Tx, firings: Sequence[_Firing]) -> None:
    """Of schedules whose tasks may not overlap: takes out all ticks while the last task is open, else all but one."""
    alone = [firing for firing in firings if firing.schedule.settings.overlap is Overlap.SKIP and firing.plan.ticks]
    keys = [firing.schedule.last_task_key for firing in alone if firing.schedule.last_task_key is not None]
    last = tx.tasks.peek(sorted(keys)) if keys else {}
    for firing in alone:
        task = last.get(firing.schedule.last_task_key or 0)
        is_open = task is not None and task.status is Status.PENDING
        firing.plan = firing.plan._replace(ticks=() if is_open else firing.plan.ticks[:1])
        if is_open:
            firing.error = f"its last task, {firing.schedule.last_task_id}, has not ended"


def _record(firing: _Firing, now: datetime) -> FiredSchedule:
    tick, time = firing.plan.following or (None, None)
    key = None if firing.last is None else firing.last.task_key
    return FiredSchedule(
        firing.schedule.schedule_id, tick, time, None if key is None else now, key, firing.error[:MAX_ERROR]
    )
