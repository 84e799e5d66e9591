"""The settings of a schedule from messages: checks bounds, fills in defaults. Part of `api`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from contentgen.v1 import schedule_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from scheduler_svc.api.messages.validation import MAX_NAME, Violations
from scheduler_svc.api.tasks.submits import new_task
from scheduler_svc.domain.cron import BadCron, check_line, zone_names
from scheduler_svc.domain.schedule import (
    DEFAULT_ZONE,
    MAX_JITTER,
    NO_JITTER,
    CatchUp,
    Overlap,
    Schedule,
    ScheduleChange,
    ScheduleSettings,
)
from scheduler_svc.domain.task import NewTask

_MAX_SHOWN_ZONE = 100

Source = pb.CreateScheduleRequest | pb.Schedule
Timed = Source | pb.GetNextRunsRequest


def new_settings(request: pb.CreateScheduleRequest, bad: Violations) -> ScheduleSettings:
    """The settings to store, if `bad` stays empty."""
    return ScheduleSettings(**{name: read(request, bad) for name, read in _READERS.items()})


def changed_settings(request: pb.UpdateScheduleRequest, bad: Violations) -> ScheduleChange:
    """The values of the fields that the mask names."""
    paths = bad.mask("update_mask", request.update_mask, tuple(_READERS))
    bad.path = "schedule."
    named = {name: read for name, read in _READERS.items() if name in paths}
    return ScheduleChange(**{name: read(request.schedule, bad) for name, read in named.items()})


def timing(request: Timed, bad: Violations) -> tuple[str, str]:
    """The cron line and the time zone, if `bad` stays empty."""
    return _cron(request, bad), _time_zone(request, bad)


def read_template(schedule: Schedule) -> NewTask:
    """The task that a schedule submits. Raises InvalidArgument if it breaks a bound of this version."""
    request = task_pb.SubmitTaskRequest.FromString(schedule.settings.template)
    request.account_id = schedule.account_id
    with Violations() as bad:
        bad.path = "template."
        return new_task(request, bad)


def _name(of: Source, bad: Violations) -> str:
    bad.text("name", of.name, MAX_NAME)
    return of.name


def _cron(of: Timed, bad: Violations) -> str:
    try:
        check_line(of.cron)
    except BadCron as error:
        bad.add("cron", str(error))
    return of.cron


def _time_zone(of: Timed, bad: Violations) -> str:
    zone = of.time_zone or DEFAULT_ZONE
    if zone not in zone_names():
        bad.add("time_zone", f"must be an IANA name such as Asia/Shanghai or UTC, is {zone[:_MAX_SHOWN_ZONE]!r}")
    return zone


def _template(of: Source, bad: Violations) -> bytes:
    """As it is stored: without an account, which is the schedule's, and without fields that this version lacks."""
    if not of.HasField("template"):
        bad.add("template", "is required")
    request = task_pb.SubmitTaskRequest()
    request.CopyFrom(of.template)
    request.DiscardUnknownFields()
    outer, bad.path = bad.path, f"{bad.path}template."
    if request.account_id < 0:
        bad.add("account_id", "must be 0 or more; the schedule's holds")
    request.account_id = 1
    new_task(request, bad)
    once = {
        "request_id": request.request_id,
        "schedule_time": request.HasField("schedule_time"),
        "expire_time": request.HasField("expire_time"),
        "unique_key": request.unique_key,
    }
    for field, given in once.items():
        if given:
            bad.add(field, "must not be set: each tick makes a new task, which is due at once")
    bad.path = outer
    request.ClearField("account_id")
    return request.SerializeToString()


def _catch_up(of: Source, bad: Violations) -> CatchUp:
    return bad.status("catch_up", of.catch_up, CatchUp) or CatchUp.ONE


def _overlap(of: Source, bad: Violations) -> Overlap:
    return bad.status("overlap", of.overlap, Overlap) or Overlap.ALLOW


_READERS: Mapping[str, Callable[[Source, Violations], Any]] = {
    "name": _name,
    "cron": _cron,
    "time_zone": _time_zone,
    "template": _template,
    "catch_up": _catch_up,
    "overlap": _overlap,
    "jitter": lambda of, bad: bad.duration("jitter", of.jitter, NO_JITTER, MAX_JITTER),
    "paused": lambda of, _: of.paused,
}
"""By the name of the setting, in messages as in `ScheduleSettings`."""
