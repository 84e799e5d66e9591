"""ScheduleService: schedules of tasks. Part of `api`."""

from __future__ import annotations

from typing import Any

from grpc import aio

from contentgen.v1 import schedule_service_pb2 as pb
from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceServicer
from scheduler_svc.api.access.auth import caller
from scheduler_svc.api.messages import convert
from scheduler_svc.api.messages.pages import PageRequest
from scheduler_svc.api.messages.traces import caller_trace
from scheduler_svc.api.messages.validation import Violations
from scheduler_svc.api.schedule_settings import changed_settings, new_settings, timing
from scheduler_svc.api.server.auditing import concerns
from scheduler_svc.application import schedules
from scheduler_svc.application.calls import Calls
from scheduler_svc.application.schedules import Schedules, ShownSchedule
from scheduler_svc.application.tracing import Tracer
from scheduler_svc.domain.schedule import ScheduleChange


class ScheduleService(ScheduleServiceServicer):
    def __init__(self, reads: Calls, writes: Calls, work: Schedules, tracer: Tracer) -> None:
        self._reads = reads
        self._writes = writes
        self._work = work
        self._tracer = tracer

    async def CreateSchedule(self, request: pb.CreateScheduleRequest, context: object) -> pb.CreateScheduleResponse:
        with Violations() as bad:
            bad.id("account_id", request.account_id)
            settings = new_settings(request, bad)
        caller().about(request.account_id)
        made = await self._writes.run(self._work.create, request.account_id, settings)
        return pb.CreateScheduleResponse(schedule=convert.schedule(*made))

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: object) -> pb.GetScheduleResponse:
        schedule_id = _id(request.schedule_id)
        found = await self._reads.run(schedules.get_schedule, caller().scope, schedule_id)
        return pb.GetScheduleResponse(schedule=convert.schedule(*found))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: object) -> pb.ListSchedulesResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
            page = PageRequest.of(request, bad, "ListSchedules", request.account_id)
        scope = caller().about(request.account_id)
        found = await self._reads.run(schedules.list_schedules, scope, page.position or 0, page.limit)
        listed, token = page.cut(found, lambda it: convert.listed_schedule(*it), _position)
        return pb.ListSchedulesResponse(schedules=listed, next_page_token=token)

    async def GetNextRuns(self, request: pb.GetNextRunsRequest, context: object) -> pb.GetNextRunsResponse:
        with Violations() as bad:
            line, zone = timing(request, bad)
        return convert.next_runs(await self._reads.run(schedules.next_runs, line, zone))

    async def UpdateSchedule(self, request: pb.UpdateScheduleRequest, context: object) -> pb.UpdateScheduleResponse:
        with Violations() as bad:
            bad.id("schedule.schedule_id", request.schedule.schedule_id)
            change = changed_settings(request, bad)
        changed = await self._update(request.schedule.schedule_id, change)
        return pb.UpdateScheduleResponse(schedule=changed)

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: object) -> pb.DeleteScheduleResponse:
        schedule_id = _id(request.schedule_id)
        concerns(await self._writes.run(schedules.delete_schedule, caller().scope, schedule_id))
        return pb.DeleteScheduleResponse()

    async def PauseSchedule(self, request: pb.PauseScheduleRequest, context: object) -> pb.PauseScheduleResponse:
        changed = await self._update(_id(request.schedule_id), ScheduleChange(paused=True))
        return pb.PauseScheduleResponse(schedule=changed)

    async def ResumeSchedule(self, request: pb.ResumeScheduleRequest, context: object) -> pb.ResumeScheduleResponse:
        changed = await self._update(_id(request.schedule_id), ScheduleChange(paused=False))
        return pb.ResumeScheduleResponse(schedule=changed)

    async def RunSchedule(
        self, request: pb.RunScheduleRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.RunScheduleResponse:
        schedule_id = _id(request.schedule_id)
        with self._tracer.submit("ScheduleService/RunSchedule", caller_trace(context)) as span:
            task = await self._writes.run(self._work.run, caller().scope, schedule_id, span)
            span.stored((task,))
        return pb.RunScheduleResponse(task=convert.task(task))

    async def _update(self, schedule_id: int, change: ScheduleChange) -> pb.Schedule:
        return convert.schedule(*await self._writes.run(self._work.update, caller().scope, schedule_id, change))


def _position(it: ShownSchedule) -> int:
    return it.schedule.schedule_id


def _id(schedule_id: int) -> int:
    with Violations() as bad:
        bad.id("schedule_id", schedule_id)
    return schedule_id
