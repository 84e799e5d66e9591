"""Schedules: tasks that are submitted again and again, by a cron line. Layer: client."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.client.documents import CATCH_UP, OVERLAP, duration, moment, value
from contentgen.client.methods import Methods, lists, plain, returns, returns_by, returns_if_found
from contentgen.client.results import CatchUp, Overlap, Schedule
from contentgen.client.tasks import PAGE_SIZE, set_field, submit_request
from contentgen.client.transport import Pages
from contentgen.submit_fields import ScheduledTask, TaskChanges
from contentgen.v1 import schedule_service_pb2 as pb
from contentgen.v1 import task_pb2


def _ticks(answer: pb.GetNextRunsResponse) -> list[str]:
    return [moment(tick) for tick in answer.next_run_times]


def _task_id(task: task_pb2.Task) -> str:
    return task.task_id


class ScheduleMethods(Methods):
    @returns(Schedule)
    async def create_schedule(
        self,
        account_id: int,
        cron: str,
        task: ScheduledTask,
        *,
        name: str = "",
        time_zone: str = "UTC",
        catch_up: CatchUp = "one",
        overlap: Overlap = "allow",
        jitter: float = 0.0,
        paused: bool = False,
    ) -> pb.Schedule:
        """Creates a schedule, and returns it. Its first tick is the first one after now.

        Args:
            account_id: an existing account.
            cron: minute, hour, day of month, month, day of week, such as `0 9 * * MON-FRI`.
            task: what each tick submits: the arguments of `submit_task` by name, without `account_id`, `request_id`,
                `schedule_time`, `expire_time`, `unique_key` and `unique_for`.
            name: for people.
            time_zone: an IANA name, such as `Asia/Shanghai`.
            catch_up: what becomes of ticks that were missed: `skip`, `one` (the latest runs) or `all` (up to 100).
            overlap: what a tick does while the last task is open: `allow` another one, or `skip`.
            jitter: seconds by which a task may come after its tick, up to a day.
            paused: whether it begins paused.

        Raises:
            ResourceNotFoundException: the account does not exist.
            InvalidArgument: a bad field.
            ResourceExhausted: the account has 1,000 schedules.
            ValueError: a name that is no argument of `submit_task`.

        Example:
            >>> news = {"topic": "每日新闻", "priority": 8}
            >>> schedule = client.create_schedule(1, "0 9 * * MON-FRI", news, time_zone="Asia/Shanghai")
            >>> print(schedule["schedule_id"], schedule["next_runs_at"])
        """
        request = pb.CreateScheduleRequest(
            account_id=account_id,
            name=name,
            cron=cron,
            time_zone=time_zone,
            template=submit_request(**task),
            catch_up=value(CATCH_UP, catch_up),
            overlap=value(OVERLAP, overlap),
            jitter=duration(jitter),
            paused=paused,
        )
        return (await self._call(self._stubs.schedules.CreateSchedule, request)).schedule

    @returns_if_found(Schedule)
    async def get_schedule(self, schedule_id: int) -> pb.Schedule:
        """Returns a schedule, or None if it does not exist.

        Example:
            >>> if schedule := client.get_schedule(schedule_id):
            ...     print(schedule["last_task_id"], schedule["last_error"])
        """
        request = pb.GetScheduleRequest(schedule_id=schedule_id)
        return (await self._call(self._stubs.schedules.GetSchedule, request)).schedule

    @lists(Schedule)
    def iter_schedules(self, account_id: int | None = None, *, page_size: int = PAGE_SIZE) -> Pages[pb.Schedule]:
        """Iterates over schedules by id, of an account or of all, which it reads page by page.

        Example:
            >>> paused = [it["schedule_id"] for it in client.iter_schedules(account_id=1) if it["paused"]]
        """
        request = pb.ListSchedulesRequest(account_id=account_id or 0, page_size=page_size)
        return Pages(self._transport, self._stubs.schedules.ListSchedules, request, lambda page: page.schedules)

    @returns_by(_ticks)
    async def get_next_runs(self, cron: str, *, time_zone: str = "UTC") -> pb.GetNextRunsResponse:
        """Returns the next ticks of a cron line, which no schedule need have: five at most.

        Args:
            cron: as that of `create_schedule`.
            time_zone: an IANA name.

        Raises:
            InvalidArgument: no cron line, one that never comes, or an unknown zone.

        Example:
            >>> print(client.get_next_runs("0 9 * * MON-FRI", time_zone="Asia/Shanghai"))
        """
        request = pb.GetNextRunsRequest(cron=cron, time_zone=time_zone)
        return await self._call(self._stubs.schedules.GetNextRuns, request)

    @returns(Schedule)
    async def update_schedule(
        self,
        schedule_id: int,
        *,
        cron: str | None = None,
        task: ScheduledTask | None = None,
        task_changes: TaskChanges | None = None,
        name: str | None = None,
        time_zone: str | None = None,
        catch_up: CatchUp | None = None,
        overlap: Overlap | None = None,
        jitter: float | None = None,
        paused: bool | None = None,
    ) -> pb.Schedule:
        """Changes a schedule, and returns it. What is None stays as it is. See `create_schedule`.

        Another `cron`, `time_zone` or `jitter` begins anew: the next tick is the first one after now.

        Args:
            schedule_id: the schedule.
            cron: five fields.
            task: what each tick submits, whole.
            task_changes: instead of it what is to change of that; the schedule is read before.
            name: for people.
            time_zone: an IANA name.
            catch_up: `skip`, `one` or `all`.
            overlap: `allow` or `skip`.
            jitter: seconds.
            paused: whether it has no ticks for now.

        Raises:
            ResourceNotFoundException: the schedule does not exist.
            InvalidArgument: nothing to change, or a bad value.
            ValueError: both `task` and `task_changes`, or a name that is no argument of `submit_task`.

        Example:
            >>> schedule = client.update_schedule(schedule_id, cron="30 8 * * *", task_changes={"priority": 9})
        """
        if task is not None and task_changes:
            raise ValueError("task is the whole: give no task_changes with it")
        template = None if task is None else submit_request(**task)
        if task_changes:
            present = pb.GetScheduleRequest(schedule_id=schedule_id)
            template = (await self._call(self._stubs.schedules.GetSchedule, present)).schedule.template
            for field, change in task_changes.items():
                set_field(template, field, change)
        fields: dict[str, Any] = {
            "name": name,
            "cron": cron,
            "time_zone": time_zone,
            "template": template,
            "catch_up": None if catch_up is None else value(CATCH_UP, catch_up),
            "overlap": None if overlap is None else value(OVERLAP, overlap),
            "jitter": duration(jitter),
            "paused": paused,
        }
        changes = {field: value for field, value in fields.items() if value is not None}
        request = pb.UpdateScheduleRequest(
            schedule=pb.Schedule(schedule_id=schedule_id, **changes), update_mask=FieldMask(paths=changes)
        )
        return (await self._call(self._stubs.schedules.UpdateSchedule, request)).schedule

    @plain
    async def delete_schedule(self, schedule_id: int) -> None:
        """Deletes a schedule. Its tasks stay.

        Raises:
            ResourceNotFoundException: the schedule does not exist.

        Example:
            >>> client.delete_schedule(schedule_id)
        """
        request = pb.DeleteScheduleRequest(schedule_id=schedule_id)
        await self._call(self._stubs.schedules.DeleteSchedule, request)

    @returns(Schedule)
    async def pause_schedule(self, schedule_id: int) -> pb.Schedule:
        """Stops a schedule's ticks, and returns it. Its tasks go on.

        Raises:
            ResourceNotFoundException: the schedule does not exist.

        Example:
            >>> schedule = client.pause_schedule(schedule_id)
        """
        request = pb.PauseScheduleRequest(schedule_id=schedule_id)
        return (await self._call(self._stubs.schedules.PauseSchedule, request)).schedule

    @returns(Schedule)
    async def resume_schedule(self, schedule_id: int) -> pb.Schedule:
        """Undoes `pause_schedule`, and returns the schedule. Its next tick is the first one after now.

        Raises:
            ResourceNotFoundException: the schedule does not exist.

        Example:
            >>> schedule = client.resume_schedule(schedule_id)
        """
        request = pb.ResumeScheduleRequest(schedule_id=schedule_id)
        return (await self._call(self._stubs.schedules.ResumeSchedule, request)).schedule

    @returns_by(_task_id)
    async def run_schedule(self, schedule_id: int) -> task_pb2.Task:
        """Submits a schedule's task now, paused or not, and returns the task's id. Each call makes a task.

        Raises:
            ResourceNotFoundException: the schedule does not exist.
            FailedPrecondition: the account is deactivated.
            ResourceExhausted: the queue, or the account's part of it, is full.

        Example:
            >>> task_id = client.run_schedule(schedule_id)
        """
        request = pb.RunScheduleRequest(schedule_id=schedule_id)
        return (await self._call(self._stubs.schedules.RunSchedule, request)).task
