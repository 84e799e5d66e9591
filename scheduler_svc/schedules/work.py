"""Schedules: what clients do with them, and the ticks by which they submit their tasks.

A tick, its task and the schedule's next tick are one transaction, under the lock of the schedule's row. So a tick has
one task at most, whichever replica runs it and whenever it dies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.errors import DomainError, InvalidArgument, NotFound, TooManySchedules
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.schedule import (
    MAX_SCHEDULES,
    SHOWN_RUNS,
    Cron,
    Due,
    MissedRuns,
    Overlap,
    Plan,
    Schedule,
    ScheduleChange,
    ScheduleSettings,
    UnknownZone,
    plan,
)
from scheduler_svc.domain.task import NewTask, Task
from scheduler_svc.runtime.loops import DueRound
from scheduler_svc.runtime.tracing import NO_SPAN, NO_TRACER, SubmitSpan, Tracer
from scheduler_svc.tasks.submit import SubmitItem, SubmitWork

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.transactions import Tx


class ScheduleTask(NamedTuple):
    """An insert into `schedule_tasks`; no tick: by RunSchedule."""

    task_key: int
    schedule_id: int
    tick: datetime | None


class FiredSchedule(NamedTuple):
    """What a schedule did: its next tick, its last task (None: as before), and which ticks made none and why."""

    schedule_id: int
    next_tick: datetime | None
    due_time: datetime | None
    last_run_time: datetime | None
    last_task_key: int | None
    last_error: str
    missed_runs: str | None = None
    """JSON; None: as before."""


ReadTemplate: TypeAlias = "Callable[[Settings, Schedule], NewTask]"
"""Returns the task that a schedule submits. Raises InvalidArgument if it is no valid submit any more."""
Clock: TypeAlias = "Callable[[Tx], datetime]"


def database_clock(tx: Tx) -> datetime:
    """Returns the start of the transaction, by the database's clock."""
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

    def __init__(self, settings: Settings, read_template: ReadTemplate, clock: Clock = database_clock) -> None:
        self._submit_work = partial(SubmitWork, settings)
        self._read_template = partial(read_template, settings)
        self._clock = clock

    def create(self, tx: Tx, account_id: int, settings: ScheduleSettings) -> ShownSchedule:
        """Creates a schedule. Raises NotFound, TooManySchedules."""
        if not tx.schedules.lock_account(account_id):
            raise NotFound("account", account_id)
        if tx.schedules.count(account_id, MAX_SCHEDULES) >= MAX_SCHEDULES:
            raise TooManySchedules(account_id, MAX_SCHEDULES)
        return self._started(tx, tx.schedules.insert(account_id, settings))

    def update(
        self, tx: Tx, scope: Scope, schedule_id: int, change: ScheduleChange
    ) -> tuple[ShownSchedule, ShownSchedule]:
        """Changes a schedule; it starts anew if its ticks change. Returns it before and after. Raises NotFound."""
        before = _own(tx.schedules.lock(schedule_id), scope, schedule_id)
        changes = {name: value for name, value in asdict(change).items() if value is not None}
        after = replace(before, settings=replace(before.settings, **changes))
        if _ticks(after.settings) != _ticks(before.settings):
            return shown(before), self._started(tx, after)
        tx.schedules.update(schedule_id, after.settings, after.next)
        return shown(before), shown(after)

    def _started(self, tx: Tx, schedule: Schedule) -> ShownSchedule:
        """Stores a locked schedule's settings, with the first tick after now as its next one."""
        first = None if schedule.settings.paused else _first(schedule, self._clock(tx))
        tx.schedules.update(schedule.schedule_id, schedule.settings, first)
        tx.signals.schedules = True
        return shown(replace(schedule, next=first))

    def run(self, tx: Tx, scope: Scope, schedule_id: int, span: SubmitSpan = NO_SPAN) -> Task:
        """Submits a schedule's task beside its ticks. Raises NotFound, and what a submit is refused with."""
        schedule = _own(tx.schedules.lock(schedule_id), scope, schedule_id)
        submits = self._submit_work()  # it is for one thread, and calls have several
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
    """Returns the first tick after now. Raises InvalidArgument if this machine does not know the zone; others may."""
    try:
        return schedule.timing.first_due(now)
    except UnknownZone as error:
        text = f"must be a zone that this scheduler knows, is {error}"
        raise InvalidArgument.of("schedule.time_zone", text) from None


def _ticks(settings: ScheduleSettings) -> tuple[object, ...]:
    """Returns what decides when the ticks are due."""
    return settings.cron, settings.time_zone, settings.jitter, settings.paused


MAX_BATCH = 50
"""Schedules that one transaction looks at."""
MAX_BATCH_WEIGHT = 2_000
"""KiB of templates, each task at least one: a transaction takes no further schedule beyond it."""
MAX_ERROR = 2_000
"""Characters of `last_error`."""
MAX_MISSED, MAX_REASON = 20, 300
"""How many missed runs a schedule keeps, and characters of the reason of each."""
NOT_CAUGHT_UP = "missed, and not caught up"
ZONE_RETRY = timedelta(minutes=1)
"""When a tick is tried again whose time zone this machine does not know: another replica's may."""


@dataclass(slots=True)
class _Firing:
    """A schedule that is due, and what comes of it."""

    schedule: Schedule
    plan: Plan
    error: str = ""
    last: Task | None = None
    missed: list[MissedRuns] = field(default_factory=list)

    def miss(self, ticks: Sequence[datetime], reason: str) -> None:
        """Notes that these ticks make no task; they are later than those before."""
        reason, n = reason[:MAX_REASON], len(ticks)
        if ticks and self.missed and self.missed[-1].reason == reason:
            n += self.missed.pop().n
        if ticks:
            self.missed.append(MissedRuns(ticks[-1], n, reason))

    @property
    def weight(self) -> int:
        return len(self.plan.ticks) * max(1, len(self.schedule.settings.template) // 1024)


class Ticks:
    """The work of the loop that runs ticks. For one thread at a time."""

    def __init__(
        self,
        settings: Settings,
        read_template: ReadTemplate,
        clock: Clock = database_clock,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._tracer = tracer
        self._submits = SubmitWork(settings)
        self._read_template = partial(read_template, settings)
        self._clock = clock

    def run_due(self, tx: Tx, *, skip_locked: bool = False) -> DueRound:
        """Runs the ticks that are due, of some schedules; `skip_locked`: not of accounts that are locked."""
        now = self._clock(tx)
        locked = tx.window.lock_due(partial(tx.schedules.due_accounts, now, MAX_BATCH)) if skip_locked else ()
        due = tx.schedules.lock_due(now, MAX_BATCH, locked)
        firings = _bounded([_firing(schedule, now) for schedule in due])
        if firings:
            _leave_out_ran(tx, firings)
            _leave_out_overlaps(tx, firings)
            self._submit(tx, firings)
            tx.schedules.record([_record(firing, now) for firing in firings])
        next_due = tx.schedules.next_due()
        return DueRound(len(firings), None if next_due is None else (next_due - now).total_seconds())

    def _submit(self, tx: Tx, firings: Sequence[_Firing]) -> None:
        """Submits the tasks of all ticks, and keeps the last task or refusal of each schedule."""
        ticks: list[tuple[_Firing, datetime]] = []
        items: list[SubmitItem] = []
        for firing in firings:
            if not firing.plan.ticks:
                continue
            try:
                template = self._read_template(firing.schedule)
            except DomainError as error:
                firing.error = error.message
                firing.miss(firing.plan.ticks, error.message)
                continue
            ticks += [(firing, tick) for tick in firing.plan.ticks]
            items += [SubmitItem(self._traced(template)) for _ in firing.plan.ticks]
        schedule_tasks: list[ScheduleTask] = []
        for (firing, tick), answer in zip(ticks, self._submits.run_group(tx, items) if items else (), strict=True):
            if isinstance(answer, DomainError):
                firing.error = answer.message
                firing.miss([tick], answer.message)
            else:
                (firing.last,) = answer
                firing.error = ""
                schedule_tasks.append(ScheduleTask(firing.last.task_key, firing.schedule.schedule_id, tick))
        if schedule_tasks:
            tx.schedules.add_tasks(schedule_tasks)

    def _traced(self, new: NewTask) -> tuple[NewTask, ...]:
        with self._tracer.submit("schedule", None) as span:
            return span.traced((new,))


def _firing(schedule: Schedule, now: datetime) -> _Firing:
    assert schedule.next is not None, "it is due"
    try:
        decided = plan(schedule.timing, schedule.settings.catch_up, schedule.next.tick, now)
    except UnknownZone as error:
        later = Plan((), Due(schedule.next.tick, now + ZONE_RETRY))
        return _Firing(schedule, later, f"this scheduler does not know the time zone {error}")
    firing = _Firing(schedule, decided, "" if decided.ticks else NOT_CAUGHT_UP)
    firing.miss(decided.skipped, NOT_CAUGHT_UP)
    return firing


def _bounded(firings: Sequence[_Firing]) -> list[_Firing]:
    """Returns as many firings as one transaction takes, at least one."""
    batch: list[_Firing] = []
    for firing in firings:
        if batch and sum(member.weight for member in batch) + firing.weight > MAX_BATCH_WEIGHT:
            break
        batch.append(firing)
    return batch


def _leave_out_ran(tx: Tx, firings: Sequence[_Firing]) -> None:
    """Takes out ticks that have a task: the database's clock may have been set back."""
    ticks = [(firing.schedule.schedule_id, tick) for firing in firings for tick in firing.plan.ticks]
    ran = tx.schedules.ran(ticks) if ticks else set()
    for firing in firings:
        left = [tick for tick in firing.plan.ticks if (firing.schedule.schedule_id, tick) not in ran]
        firing.plan = firing.plan._replace(ticks=left)


def _leave_out_overlaps(tx: Tx, firings: Sequence[_Firing]) -> None:
    """Takes out, of schedules whose tasks may not overlap, all ticks while the last task is open, else all but one."""
    alone = [firing for firing in firings if firing.schedule.settings.overlap is Overlap.SKIP and firing.plan.ticks]
    keys = [firing.schedule.last_task_key for firing in alone if firing.schedule.last_task_key is not None]
    last = tx.tasks.peek(sorted(keys)) if keys else {}
    for firing in alone:
        task = last.get(firing.schedule.last_task_key or 0)
        is_open = task is not None and task.status is Status.PENDING
        if is_open:
            firing.error = f"its last task, {firing.schedule.last_task_id}, has not ended"
        left_out = firing.plan.ticks[0 if is_open else 1 :]
        firing.miss(left_out, firing.error or "of several at once only the first one runs")
        firing.plan = firing.plan._replace(ticks=() if is_open else firing.plan.ticks[:1])


def _record(firing: _Firing, now: datetime) -> FiredSchedule:
    tick, time = firing.plan.following or (None, None)
    key = None if firing.last is None else firing.last.task_key
    missed = _missed_runs(firing) if firing.missed else None
    return FiredSchedule(
        firing.schedule.schedule_id, tick, time, None if key is None else now, key, firing.error[:MAX_ERROR], missed
    )


def _missed_runs(firing: _Firing) -> str:
    entries = [*reversed(firing.missed), *firing.schedule.missed_runs][:MAX_MISSED]
    return json.dumps([(missed.tick.isoformat(), missed.n, missed.reason) for missed in entries])
