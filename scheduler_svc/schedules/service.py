"""ScheduleService: schedules of tasks, and the checks, bounds and defaults of their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from grpc import aio

from contentgen.v1 import schedule_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceServicer
from scheduler_svc.config import Settings
from scheduler_svc.domain.schedule import (
    DEFAULT_ZONE,
    MAX_JITTER,
    NO_JITTER,
    BadCron,
    CatchUp,
    Overlap,
    Schedule,
    ScheduleChange,
    ScheduleSettings,
    check_line,
    zone_names,
)
from scheduler_svc.domain.task import NewTask
from scheduler_svc.runtime.access import caller, caller_trace
from scheduler_svc.runtime.auditing import concerns, replaces
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.tracing import Tracer
from scheduler_svc.runtime.validation import (
    MAX_NAME,
    SubmitViolations,
    Violations,
    checked_id,
    duration,
    message_of,
    set_timestamp,
    timestamp,
)
from scheduler_svc.schedules import work
from scheduler_svc.schedules.work import Schedules
from scheduler_svc.tasks import messages
from scheduler_svc.tasks.messages import new_task

_MAX_SHOWN_ZONE = 100

Source = pb.CreateScheduleRequest | pb.Schedule
Timed = Source | pb.GetNextRunsRequest


def new_settings(request: pb.CreateScheduleRequest, bad: SubmitViolations) -> ScheduleSettings:
    """Returns the settings to store, if `bad` stays empty."""
    return ScheduleSettings(**{name: read(request, bad) for name, read in _READERS.items()})


def changed_settings(request: pb.UpdateScheduleRequest, bad: SubmitViolations) -> ScheduleChange:
    """Returns the values of the fields that the mask names."""
    paths = bad.mask("update_mask", request.update_mask, tuple(_READERS))
    bad.path = "schedule."
    readers = {name: read for name, read in _READERS.items() if name in paths}
    return ScheduleChange(**{name: read(request.schedule, bad) for name, read in readers.items()})


def read_template(settings: Settings, schedule: Schedule) -> NewTask:
    """Returns the task that a schedule submits. Raises InvalidArgument if it breaks a bound of this version."""
    request = task_pb.SubmitTaskRequest.FromString(schedule.settings.template)
    request.account_id = schedule.account_id
    with SubmitViolations(settings) as violations:
        violations.path = "template."
        return new_task(request, violations)


def _name(source: Source, violations: Violations) -> str:
    violations.text("name", source.name, MAX_NAME)
    return source.name


def _cron(source: Timed, violations: Violations) -> str:
    try:
        check_line(source.cron)
    except BadCron as error:
        violations.add("cron", str(error))
    return source.cron


def _time_zone(source: Timed, violations: Violations) -> str:
    zone = source.time_zone or DEFAULT_ZONE
    if zone not in zone_names():
        violations.add("time_zone", f"must be an IANA name such as Asia/Shanghai or UTC, is {zone[:_MAX_SHOWN_ZONE]!r}")
    return zone


def _template(source: Source, violations: SubmitViolations) -> bytes:
    """Returns the template as it is stored: without the schedule's account, and fields that this version lacks."""
    if not source.HasField("template"):
        violations.add("template", "is required")
    request = task_pb.SubmitTaskRequest()
    request.CopyFrom(source.template)
    request.DiscardUnknownFields()
    outer, violations.path = violations.path, f"{violations.path}template."
    if request.account_id < 0:
        violations.add("account_id", "must be 0 or more; the schedule's holds")
    request.account_id = 1
    new_task(request, violations)
    once = {
        "request_id": request.request_id,
        "schedule_time": request.HasField("schedule_time"),
        "expire_time": request.HasField("expire_time"),
        "unique_key": request.unique_key,
    }
    for field, value in once.items():
        if value:
            violations.add(field, "must not be set: each tick makes a new task, which is due at once")
    violations.path = outer
    request.ClearField("account_id")
    return request.SerializeToString()


_READERS: Mapping[str, Callable[[Source, SubmitViolations], Any]] = {
    "name": _name,
    "cron": _cron,
    "time_zone": _time_zone,
    "template": _template,
    "catch_up": lambda source, violations: violations.status("catch_up", source.catch_up, CatchUp) or CatchUp.ONE,
    "overlap": lambda source, violations: violations.status("overlap", source.overlap, Overlap) or Overlap.ALLOW,
    "jitter": lambda source, violations: violations.duration("jitter", source.jitter, NO_JITTER, MAX_JITTER),
    "paused": lambda source, _: source.paused,
}
"""By the name of the setting, in messages as in `ScheduleSettings`."""


class ScheduleService(ScheduleServiceServicer):
    def __init__(self, reads: Calls, writes: Calls, settings: Settings, tracer: Tracer) -> None:
        self._reads = reads
        self._writes = writes
        self._settings = settings
        self._work = Schedules(settings, read_template)
        self._tracer = tracer

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: object) -> pb.CreateScheduleResponse:
        with SubmitViolations(self._settings) as violations:
            violations.id("account_id", request.account_id)
            settings = new_settings(request, violations)
        schedule = await self._writes.run(self._work.create, request.account_id, settings)
        return pb.CreateScheduleResponse(schedule=_schedule_message(*schedule))

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: object) -> pb.GetScheduleResponse:
        schedule_id = checked_id("schedule_id", request.schedule_id)
        schedule = await self._reads.run(work.get_schedule, caller().scope, schedule_id)
        return pb.GetScheduleResponse(schedule=_schedule_message(*schedule))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: object) -> pb.ListSchedulesResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            page = PageRequest.of(request, violations, "ListSchedules", request.account_id)
        schedules = await self._reads.run(work.list_schedules, caller().scope, page.position or 0, page.limit)
        listed, token = page.cut(
            schedules, lambda shown: _listed_schedule_message(*shown), attrgetter("schedule.schedule_id")
        )
        return pb.ListSchedulesResponse(schedules=listed, next_page_token=token)

    async def GetNextRuns(self, request: pb.GetNextRunsRequest, context: object) -> pb.GetNextRunsResponse:
        with Violations() as violations:
            line, zone = _cron(request, violations), _time_zone(request, violations)
        message = pb.GetNextRunsResponse()
        for tick in await self._reads.run(work.next_runs, line, zone):
            set_timestamp(message.next_run_times.add(), tick)
        return message

    async def UpdateSchedule(self, request: pb.UpdateScheduleRequest, context: object) -> pb.UpdateScheduleResponse:
        with SubmitViolations(self._settings) as violations:
            violations.id("schedule.schedule_id", request.schedule.schedule_id)
            change = changed_settings(request, violations)
        before, changed = await self._update(request.schedule.schedule_id, change)
        replaces(before)
        return pb.UpdateScheduleResponse(schedule=changed)

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: object) -> pb.DeleteScheduleResponse:
        schedule_id = checked_id("schedule_id", request.schedule_id)
        concerns(await self._writes.run(work.delete_schedule, caller().scope, schedule_id))
        return pb.DeleteScheduleResponse()

    async def PauseSchedule(self, request: pb.PauseScheduleRequest, context: object) -> pb.PauseScheduleResponse:
        _, changed = await self._update(checked_id("schedule_id", request.schedule_id), ScheduleChange(paused=True))
        return pb.PauseScheduleResponse(schedule=changed)

    async def ResumeSchedule(self, request: pb.ResumeScheduleRequest, context: object) -> pb.ResumeScheduleResponse:
        _, changed = await self._update(checked_id("schedule_id", request.schedule_id), ScheduleChange(paused=False))
        return pb.ResumeScheduleResponse(schedule=changed)

    async def RunSchedule(
        self, request: pb.RunScheduleRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.RunScheduleResponse:
        schedule_id = checked_id("schedule_id", request.schedule_id)
        with self._tracer.submit("ScheduleService/RunSchedule", caller_trace(context)) as span:
            task = await self._writes.run(self._work.run, caller().scope, schedule_id, span)
            span.stored((task,))
        return pb.RunScheduleResponse(task=messages.task(task))

    async def _update(self, schedule_id: int, change: ScheduleChange) -> Sequence[pb.Schedule]:
        schedules = await self._writes.run(self._work.update, caller().scope, schedule_id, change)
        return [_schedule_message(*schedule) for schedule in schedules]


def _schedule_message(schedule: Schedule, next_ticks: Sequence[datetime]) -> pb.Schedule:
    settings = schedule.settings
    template = task_pb.SubmitTaskRequest.FromString(settings.template)
    template.account_id = schedule.account_id
    return message_of(
        pb.Schedule,
        schedule,
        template=template,
        next_run_times=map(timestamp, next_ticks),
        jitter=duration(settings.jitter) if settings.jitter else None,
        missed_runs=[
            pb.MissedRuns(run_time=timestamp(missed.tick), count=missed.n, reason=missed.reason)
            for missed in schedule.missed_runs
        ],
        **{name: getattr(settings, name) for name in ("name", "cron", "time_zone", "catch_up", "overlap", "paused")},
    )


def _listed_schedule_message(schedule: Schedule, next_ticks: Sequence[datetime]) -> pb.Schedule:
    """Returns a schedule without its missed runs, whose template has no `requirements`."""
    message = _schedule_message(replace(schedule, missed_runs=()), next_ticks)
    message.template.ClearField("requirements")
    return message
