"""What clients do with schedules. `schedule_ticks` has what the schedules do by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scheduler_svc.application.records import ScheduleTask
from scheduler_svc.application.tasks.submit import SubmitItem, SubmitWork
from scheduler_svc.application.tracing import NO_SPAN, SubmitSpan
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.cron import Cron, UnknownZone
from scheduler_svc.domain.errors import DomainError, FieldViolation, InvalidArgument, NotFound, TooManySchedules
from scheduler_svc.domain.schedule import MAX_SCHEDULES, SHOWN_RUNS, Due, Schedule, ScheduleChange, ScheduleSettings
from scheduler_svc.domain.task import NewTask, Task

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

ReadTemplate = Callable[[Schedule], NewTask]
"""Returns the task that a schedule submits. Raises InvalidArgument if it is no valid submit any more."""
Clock: TypeAlias = "Callable[[Tx], datetime]"


def database_clock(tx: Tx) -> datetime:
    """The start of the transaction, by the database's clock."""
    return tx.now


class ShownSchedule(NamedTuple):
    """A schedule and its next ticks; none if this machine does not know its time zone."""

    schedule: Schedule
    next_ticks: Sequence[datetime]


def shown(schedule: Schedule) -> ShownSchedule:
    try:
        return ShownSchedule(schedule, schedule.next_ticks())
    except UnknownZone:
        return ShownSchedule(schedule, ())


class Schedules:
    """The calls that need the time, or submit."""

    def __init__(self, max_queue_size: int, read_template: ReadTemplate, clock: Clock = database_clock) -> None:
        self._max_queue_size = max_queue_size
        self._read_template = read_template
        self._clock = clock

    def create(self, tx: Tx, account_id: int, settings: ScheduleSettings) -> ShownSchedule:
        """Creates a schedule. Raises NotFound, TooManySchedules."""
        if not tx.schedules.lock_account(account_id):
            raise NotFound("account", account_id)
        if tx.schedules.count(account_id, MAX_SCHEDULES) >= MAX_SCHEDULES:
            raise TooManySchedules(account_id, MAX_SCHEDULES)
        return self._started(tx, tx.schedules.insert(account_id, settings))

    def update(self, tx: Tx, scope: Scope, schedule_id: int, change: ScheduleChange) -> ShownSchedule:
        """Changes a schedule; it starts anew if its ticks change. Raises NotFound."""
        before = _own(tx.schedules.lock(schedule_id), scope, schedule_id)
        given = {name: value for name, value in asdict(change).items() if value is not None}
        after = replace(before, settings=replace(before.settings, **given))
        if _ticks(after.settings) != _ticks(before.settings):
            return self._started(tx, after)
        tx.schedules.update(schedule_id, after.settings, after.next)
        return shown(after)

    def _started(self, tx: Tx, schedule: Schedule) -> ShownSchedule:
        """Stores a locked schedule's settings, with the first tick after now as its next one."""
        first = None if schedule.settings.paused else _first(schedule, self._clock(tx))
        tx.schedules.update(schedule.schedule_id, schedule.settings, first)
        tx.signals.schedules = True
        return shown(replace(schedule, next=first))

    def run(self, tx: Tx, scope: Scope, schedule_id: int, span: SubmitSpan = NO_SPAN) -> Task:
        """Submits a schedule's task beside its ticks. Raises NotFound, and what a submit is refused with."""
        schedule = _own(tx.schedules.lock(schedule_id), scope, schedule_id)
        submits = SubmitWork(self._max_queue_size)  # it is for one thread, and calls have several
        (answer,) = submits.run_group(tx, [SubmitItem(span.traced((self._read_template(schedule),)))])
        if isinstance(answer, DomainError):
            raise answer
        (task,) = answer
        tx.schedules.add_tasks([ScheduleTask(task.task_key, schedule_id, None)])
        tx.schedules.record_run(schedule_id, self._clock(tx), task.task_key)
        return task._replace(schedule_id=schedule_id)


def get_schedule(tx: Tx, scope: Scope, schedule_id: int) -> ShownSchedule:
    """Returns one schedule. Raises NotFound."""
    return shown(_own(tx.schedules.get(schedule_id), scope, schedule_id))


def list_schedules(tx: Tx, scope: Scope, after: int, limit: int) -> list[ShownSchedule]:
    """Returns schedules with ids above `after`, in order."""
    return [shown(schedule) for schedule in tx.schedules.list(scope, after, limit)]


def next_runs(tx: Tx, line: str, zone: str) -> Sequence[datetime]:
    """Returns the next ticks of a cron line, five at most. Raises BadCron, UnknownZone."""
    return list(islice(Cron(line, zone).after(tx.now), SHOWN_RUNS))


def delete_schedule(tx: Tx, scope: Scope, schedule_id: int) -> int:
    """Deletes a schedule; returns its account. Raises NotFound."""
    schedule = _own(tx.schedules.lock(schedule_id), scope, schedule_id)
    tx.schedules.delete(schedule_id)
    return schedule.account_id


def _own(schedule: Schedule | None, scope: Scope, schedule_id: int) -> Schedule:
    if schedule is None or schedule.account_id not in scope:
        raise NotFound("schedule", schedule_id)
    return schedule


def _first(schedule: Schedule, now: datetime) -> Due | None:
    """The first tick after now. Raises InvalidArgument if this machine does not know the time zone, as another may."""
    try:
        return schedule.timing.first_due(now)
    except UnknownZone as error:
        text = f"must be a zone that this scheduler knows, is {error}"
        raise InvalidArgument([FieldViolation("schedule.time_zone", text)]) from None


def _ticks(settings: ScheduleSettings) -> tuple[object, ...]:
    """What decides when the ticks are due."""
    return settings.cron, settings.time_zone, settings.jitter, settings.paused
