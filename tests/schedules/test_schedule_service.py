"""ScheduleService over a real server on a real database: what comes of a schedule, its ticks and its tasks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.v1 import schedule_service_pb2 as pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from tests.api.cases import FULL_SUBMIT, NOTHING, OWN, Bad, Good, missing, of
from tests.harness.client import bad_fields, pages_of
from tests.harness.scheduling import sql
from tests.harness.stubs import ScheduleServiceAsyncStub, TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

YEARLY = "0 0 1 1 *"
TEMPLATE = task_pb.SubmitTaskRequest(topic="the news", priority=8, labels={"team": "a"})


class Scheduler:
    """Creates and reads schedules of one account."""

    def __init__(self, schedules: ScheduleServiceAsyncStub, tasks: TaskServiceAsyncStub, account: int) -> None:
        self.schedules, self._tasks, self.account = schedules, tasks, account

    async def create(self, cron: str = YEARLY, **fields: Any) -> pb.Schedule:
        fields = {"account_id": self.account, "template": TEMPLATE, **fields}
        return (await self.schedules.CreateSchedule(pb.CreateScheduleRequest(cron=cron, **fields))).schedule

    async def get(self, schedule: pb.Schedule) -> pb.Schedule:
        request = pb.GetScheduleRequest(schedule_id=schedule.schedule_id)
        return (await self.schedules.GetSchedule(request)).schedule

    async def run(self, schedule: pb.Schedule) -> None:
        await self.schedules.RunSchedule(pb.RunScheduleRequest(schedule_id=schedule.schedule_id))

    async def tasks(self, schedule: pb.Schedule, **filters: Any) -> list[task_pb2.Task]:
        """Its tasks, newest first."""
        request = task_pb.ListTasksRequest(schedule_id=schedule.schedule_id, **filters)
        return list((await self._tasks.ListTasks(request)).tasks)


@pytest.fixture
def scheduler(schedules: ScheduleServiceAsyncStub, tasks: TaskServiceAsyncStub, account: int) -> Scheduler:
    return Scheduler(schedules, tasks, account)


async def test_the_next_runs_of_a_cron_line_are_those_of_a_schedule_with_it(scheduler: Scheduler) -> None:
    of_schedule = (await scheduler.create("30 2 29 3,10 *", time_zone="Europe/Berlin")).next_run_times
    request = pb.GetNextRunsRequest(cron="30 2 29 3,10 *", time_zone="Europe/Berlin")
    assert list((await scheduler.schedules.GetNextRuns(request)).next_run_times) == list(of_schedule)
    in_utc = (await scheduler.schedules.GetNextRuns(pb.GetNextRunsRequest(cron="30 2 29 3,10 *"))).next_run_times
    assert [time.ToDatetime().strftime("%d %H:%M") for time in in_utc] == ["29 02:30"] * 5


async def test_lists_leave_out_requirements(scheduler: Scheduler) -> None:
    template = task_pb.SubmitTaskRequest(topic="the news", requirements="long " * 1_000)
    schedule = await scheduler.create(template=template)
    assert (await scheduler.get(schedule)).template.requirements == "long " * 1_000
    (listed,) = (await scheduler.schedules.ListSchedules(pb.ListSchedulesRequest())).schedules
    assert (listed.template.topic, listed.template.requirements) == ("the news", "")


async def test_lists_are_paged(scheduler: Scheduler) -> None:
    created = [await scheduler.create() for _ in range(5)]
    pages = await pages_of(scheduler.schedules.ListSchedules, pb.ListSchedulesRequest(page_size=2), "schedules")
    assert pages == [created[:2], created[2:4], created[4:]]


async def test_a_tick_makes_a_task_that_names_its_schedule(
    scheduler: Scheduler, tasks: TaskServiceAsyncStub, engine: sa.Engine
) -> None:
    schedule = await scheduler.create()
    tick = datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)
    sql(engine, "UPDATE schedules SET next_tick = :tick, due_time = :tick", tick=tick)
    await scheduler.create()  # the replica looks for what is due

    async def has_come() -> bool:
        return bool(await scheduler.tasks(schedule))

    await wait_until_async(has_come, within=PATIENCE_S, what="the tick has its task")
    (task,) = await scheduler.tasks(schedule)
    assert (task.topic, task.priority, dict(task.labels)) == ("the news", 8, {"team": "a"})
    assert (task.account_id, task.schedule_id) == (scheduler.account, schedule.schedule_id)
    assert (await tasks.GetTask(task_pb.GetTaskRequest(task_id=task.task_id))).task.schedule_id == schedule.schedule_id
    read = await scheduler.get(schedule)
    assert (read.last_task_id, read.last_error) == (task.task_id, "")
    assert abs(read.last_run_time.ToDatetime() - task.create_time.ToDatetime()) < timedelta(seconds=5)
    assert list(read.next_run_times) == list(schedule.next_run_times), "the next one is that of the cron line"


async def test_tasks_are_filtered_by_schedule_state_account_and_label(scheduler: Scheduler) -> None:
    schedule, other = await scheduler.create(), await scheduler.create()
    for item in (schedule, other, schedule):
        await scheduler.run(item)
    newest, oldest = await scheduler.tasks(schedule)
    assert newest.task_id > oldest.task_id
    assert await scheduler.tasks(schedule, account_id=scheduler.account) == [newest, oldest]
    assert await scheduler.tasks(schedule, statuses=[task_pb2.TASK_STATUS_PENDING]) == [newest, oldest]
    assert await scheduler.tasks(schedule, statuses=[task_pb2.TASK_STATUS_FAILED]) == []
    assert await scheduler.tasks(schedule, labels={"team": "a"}) == [newest, oldest]
    assert await scheduler.tasks(schedule, labels={"team": "b"}) == []
    assert await scheduler.tasks(schedule, account_id=99) == []
    assert await scheduler.tasks(schedule, page_size=1) == [newest]
    assert await scheduler.tasks(pb.Schedule(schedule_id=99)) == []


async def test_a_page_token_is_of_its_schedule(scheduler: Scheduler, tasks: TaskServiceAsyncStub) -> None:
    schedule = await scheduler.create()
    for _ in range(2):
        await scheduler.run(schedule)
    page = await tasks.ListTasks(task_pb.ListTasksRequest(schedule_id=schedule.schedule_id, page_size=1))
    with bad_fields("page_token"):
        await tasks.ListTasks(task_pb.ListTasksRequest(page_token=page.next_page_token))


async def test_an_update_changes_the_named_fields_and_no_others(scheduler: Scheduler) -> None:
    schedule = await scheduler.create(name="before", overlap=pb.OVERLAP_SKIP)
    change = pb.Schedule(
        schedule_id=schedule.schedule_id,
        account_id=99,
        name="ignored",
        cron="0 0 2 1 *",
        template=task_pb.SubmitTaskRequest(topic="other news"),
    )
    request = pb.UpdateScheduleRequest(schedule=change, update_mask=FieldMask(paths=["cron", "template"]))
    changed = (await scheduler.schedules.UpdateSchedule(request)).schedule
    assert (changed.name, changed.account_id, changed.overlap) == ("before", scheduler.account, pb.OVERLAP_SKIP)
    assert changed.template == task_pb.SubmitTaskRequest(account_id=scheduler.account, topic="other news"), "whole"
    assert changed.next_run_times[0].ToDatetime() == schedule.next_run_times[0].ToDatetime() + timedelta(days=1)
    assert await scheduler.get(schedule) == changed


async def test_fields_of_a_newer_client_are_not_kept(scheduler: Scheduler, engine: sa.Engine) -> None:
    """They would bear on tasks only after an upgrade, and could be of any size."""
    template = task_pb.SubmitTaskRequest.FromString(TEMPLATE.SerializeToString() + b"\xfa\xff\x7f\x03new")
    await scheduler.create(template=template)
    ((kept,),) = sql(engine, "SELECT template FROM schedules")
    assert bytes(kept) == TEMPLATE.SerializeToString()


# What tests/api calls: requests that are answered, and those that are refused.
SETTINGS = {
    "name": "n" * 200,
    "cron": "0,30 9-17/2 1-7,L JAN,jul MON#1",
    "time_zone": "Asia/Shanghai",
    "catch_up": "CATCH_UP_ALL",
    "overlap": "OVERLAP_SKIP",
    "jitter": "86400s",
    "paused": True,
}
ONCE = {"account_id", "request_id", "schedule_time", "expire_time", "unique_key", "unique_for"}
FULL_TEMPLATE = {key: value for key, value in FULL_SUBMIT.items() if key not in ONCE}
ALL_SETTINGS = "name,cron,timeZone,template,catchUp,overlap,jitter,paused"
NEW_SCHEDULE = {
    "schedule_id": lambda number: int(number) > 0,
    "account_id": OWN,
    "name": "",
    "time_zone": "UTC",
    "catch_up": "CATCH_UP_ONE",
    "overlap": "OVERLAP_ALLOW",
    "paused": False,
    "next_run_times": lambda times: len(times) == 5,
    "last_task_id": "",
    "create_time": str,
    "last_error": "",
}
GOOD = [
    Good(
        "CreateSchedule",
        {"account_id": OWN, "cron": "*/5 * * * *", "template": {"topic": "a topic", "account_id": NOTHING}},
        {"schedule": {**NEW_SCHEDULE, "template": {"topic": "a topic", "account_id": OWN}}},
    ),
    Good(
        "CreateSchedule",
        {"account_id": OWN, **SETTINGS, "template": FULL_TEMPLATE},
        {"schedule": {**SETTINGS, "template": {**FULL_TEMPLATE, "account_id": OWN}, "next_run_times": []}},
    ),
    Good("GetSchedule", of(schedule="schedule"), {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}}),
    Good(
        "GetNextRuns",
        {"cron": "0 0 29 2 *", "time_zone": "Asia/Shanghai"},
        {"next_run_times": lambda times: len(times) == 5},
    ),
    Good(
        "ListSchedules",
        {**of(account="schedule"), "page_size": 1_000},
        {"schedules": [NEW_SCHEDULE], "next_page_token": ""},
    ),
    Good(
        "UpdateSchedule",
        {"schedule": {**of(schedule="schedule"), **SETTINGS, "template": FULL_TEMPLATE}, "update_mask": ALL_SETTINGS},
        {"schedule": {**SETTINGS, "template": {**FULL_TEMPLATE, "account_id": OWN}}},
    ),
    Good(
        "UpdateSchedule",
        {"schedule": of(schedule="paused"), "update_mask": "paused"},
        {"schedule": {**NEW_SCHEDULE, "cron": "0 0 1 1 *"}},
    ),
    Good("DeleteSchedule", of(schedule="schedule"), {}),
    Good("PauseSchedule", of(schedule="schedule"), {"schedule": {"paused": True, "next_run_times": []}}),
    Good("ResumeSchedule", of(schedule="paused"), {"schedule": NEW_SCHEDULE}),
    Good(
        "RunSchedule", of(schedule="paused"), {"task": {"account_id": OWN, "topic": "a topic", **of(schedule="paused")}}
    ),
]
BAD = [
    Bad("CreateSchedule", {}, fields=("account_id", "cron", "template", "template.topic")),
    Bad(
        "CreateSchedule",
        {
            "account_id": OWN,
            "name": "n" * 201,
            "cron": "0 0 30 2 *",
            "time_zone": "Mars/Phobos",
            "jitter": "86400.001s",
            "template": {
                "topic": "a topic",
                "priority": 11,
                "request_id": "r",
                "schedule_time": "2999-01-01T00:00:00Z",
                "expire_time": "2999-01-02T00:00:00Z",
                "unique_key": "u",
            },
        },
        fields=(
            "name",
            "cron",
            "time_zone",
            "template.priority",
            "template.request_id",
            "template.schedule_time",
            "template.expire_time",
            "template.unique_key",
            "jitter",
        ),
    ),
    missing(
        "CreateSchedule", {"account_id": NOTHING, "cron": "* * * * *", "template": {"topic": "a topic"}}, "account"
    ),
    Bad(
        "ListSchedules",
        {"account_id": -1, "page_size": -1, "page_token": "?"},
        fields=("account_id", "page_size", "page_token"),
    ),
    Bad("UpdateSchedule", {}, fields=("schedule.schedule_id", "update_mask")),
    Bad(
        "UpdateSchedule",
        {"schedule": {"schedule_id": 1, "cron": "x"}, "update_mask": "cron,accountId,lastError,template"},
        fields=(
            "update_mask.paths[1]",
            "update_mask.paths[2]",
            "schedule.cron",
            "schedule.template",
            "schedule.template.topic",
        ),
    ),
    missing("UpdateSchedule", {"schedule": {"schedule_id": NOTHING}, "update_mask": "paused"}, "schedule"),
    Bad("GetNextRuns", {"cron": "0 0 30 2 *", "time_zone": "Mars"}, fields=("cron", "time_zone")),
]
